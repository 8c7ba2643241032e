"""States of samples are those that come before them, not always those of a start."""

from __future__ import annotations

import numpy as np

import spa_cli
from spa_cli.analysis import analyse_model
from spa_cli.calibration.chunks import Calibration
from spa_cli.calibration.streaming import carried, streamed
from spa_cli.calibration.synthetic import synthetic
from spa_cli.graph.source import Source
from spa_cli.runtime.load import load
from spa_cli.runtime.session import open_session, run
from tests.builders import build
from tests.decoders import decoder, streaming

RNG = np.random.default_rng(0)


def _chunks(count: int, state: float = 0.0) -> list[dict[str, np.ndarray]]:
    zeros = np.full((1, 1, 8), state, np.float32)
    return [{"frames": RNG.normal(size=(1, 4, 6)).astype(np.float32), "a": zeros, "b": zeros} for _ in range(count)]


def test_every_sample_has_what_the_original_gave_back_before_it() -> None:
    source = load(streaming())
    analysis = analyse_model(source, {})
    assert {p.input for p in carried(analysis)} == {"a", "b"}
    found = streamed(analysis, Calibration(_chunks(4), "4 samples"))
    session = open_session(source)
    assert not found.chunks[0]["a"].any()
    for before, after in zip(found.chunks, found.chunks[1:], strict=False):
        _, a, b = run(session, before)
        np.testing.assert_array_equal(after["a"], a)
        np.testing.assert_array_equal(after["b"], b)
    assert found.about == "4 samples, each with what came before it in a, b"


def test_states_that_were_given_stay() -> None:
    analysis = analyse_model(load(streaming()), {})
    given = Calibration(_chunks(3, 0.5), "3 samples")
    assert streamed(analysis, given) is given


def test_a_cache_that_grows_is_empty_at_first() -> None:
    assert carried(analyse_model(load(decoder("optimum")), {})) == []


def test_made_up_samples_too_and_nothing_is_guessed_of_them() -> None:
    made = synthetic(analyse_model(load(streaming()), {}), 12, 0)
    assert not made.chunks[0]["a"].any()
    assert all(chunk["a"].any() and chunk["b"].any() for chunk in made.chunks[1:])
    assert "'a'" not in made.warning
    assert "a and 1 more: a state, zeros at first" in made.about


def test_a_chunk_that_is_smaller_takes_as_much_of_the_state() -> None:
    model = _free()
    analysis = analyse_model(model, {"x": (3, 4), "state": (3, 6)})
    chunks = [{"x": np.ones((n, 4), np.float32), "state": np.zeros((n, 6), np.float32)} for n in (3, 2, 3)]
    found = streamed(analysis, Calibration(chunks, "")).chunks
    first = run(open_session(model), found[0])[1]
    np.testing.assert_array_equal(found[1]["state"], first[:2])
    # two states are not enough for three
    assert not found[2]["state"].any()


def _free() -> Source:
    text = """(float[N,4] x, float[N,6] state) => (y, state_out) {
      p = MatMul(x, w)  q = MatMul(state, r)  s = Add(p, q)  state_out = Tanh(s)  y = MatMul(state_out, o)
    }"""
    return load(build(text, w=(4, 6), r=(6, 6), o=(6, 3)))


def test_samples_that_lack_states_are_carried_on(tmp_path) -> None:
    np.savez(tmp_path / "frames.npz", frames=RNG.normal(size=(16, 4, 6)).astype(np.float32))
    result = spa_cli.prune(streaming(), ratio=0.3, calib=str(tmp_path / "frames.npz"))
    assert "each with what came before it in a, b" in result.plan.about["repair"]["calibration"]
