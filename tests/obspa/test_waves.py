"""All samples in little memory: early layers see a part of them, late ones all."""

from __future__ import annotations

import numpy as np
import pytest

import spa_cli
from spa_cli import memory
from spa_cli.calibration import chunks as data
from spa_cli.obspa.waves import Waves
from spa_cli.runtime.interpreter import Interpreter
from tests.builders import analysed, build, doubts

# 24 x 24 positions, then 6 x 6, then one
NETWORK = """(float[N,3,24,24] x) => (float[N,5] y) {
  a = Conv<pads=[1,1,1,1]>(x, wa, ba)  b = Relu(a)  p = MaxPool<kernel_shape=[4,4], strides=[4,4]>(b)
  c = Conv<pads=[1,1,1,1]>(p, wc, bc)  d = Relu(c)  e = Conv(d, we, be)  f = Relu(e)
  g = GlobalAveragePool(f)  h = Flatten(g)  y = Gemm(h, wy, by)
}"""
WEIGHTS = {
    "wa": (24, 3, 3, 3),
    "ba": (24,),
    "wc": (24, 24, 3, 3),
    "bc": (24,),
    "we": (32, 24, 1, 1),
    "be": (32,),
    "wy": (32, 5),
    "by": (5,),
}


@pytest.fixture
def calib(tmp_path) -> str:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(160, 3, 24, 24)) @ rng.normal(size=(24, 24)) / 5
    np.savez(tmp_path / "x.npz", x=x.astype(np.float32))
    return str(tmp_path / "x.npz")


def chunks(*sizes: int) -> list[dict[str, np.ndarray]]:
    return [{"x": np.zeros((n, 1))} for n in sizes]


def test_as_many_as_fit_and_never_fewer() -> None:
    waves = Waves(chunks(4, 4, 4, 4), {"a": 9, "b": 9, "c": 13, "d": 40})
    assert (len(waves.first()), waves.samples) == (2, 8)
    # one more chunk would fit, which is not worth a run of all that is before
    assert (waves.more("b"), waves.samples) == ([], 8)
    assert (len(waves.more("c")), waves.samples) == (1, 12)
    assert (len(waves.more("d")), waves.samples) == (1, 16)
    assert waves.more("behind all") == []


def test_one_chunk_is_taken_however_little_fits() -> None:
    waves = Waves(chunks(4, 4), {"a": 1})
    assert (len(waves.first()), waves.samples) == (1, 4)


def test_room_is_that_of_what_is_still_to_come(monkeypatch) -> None:
    monkeypatch.setattr(data, "working_memory", lambda: 2 * 4 * 24 * 24 * 24 * 20)
    found = data.room(analysed(build(NETWORK, **WEIGHTS)), {"y"})
    # a and b are alive together: twice the 24 x 24 x 24 activations
    assert found["a"] == found["b"] == 10
    assert found["c"] > 5 * found["b"]
    order = [found[n] for n in ("a", "b", "p", "c", "d", "e", "f", "g", "h", "y")]
    assert order == sorted(order)
    # behind the last layer nothing is walked
    assert "y" not in data.room(analysed(build(NETWORK, **WEIGHTS)), {"e"})


def test_what_a_body_reads_is_alive_until_then() -> None:
    model = build(
        """(float[N,3,24,24] x, bool c) => (y) {
          a = Conv<pads=[1,1,1,1]>(x, wa)
          b = If(c) <
            then_branch = one () => (float[N,24,24,24] t) { t = Relu(a) },
            else_branch = two () => (float[N,24,24,24] e) { e = Neg(a) }
          >
          p = GlobalAveragePool(b)  f = Flatten(p)  g = Relu(f)  y = MatMul(g, wy) }""",
        wa=(24, 3, 3, 3),
        wy=(24, 5),
    )
    found = data.room(analysed(model), {"y"})
    assert found["g"] > 50 * found["b"]


def test_more_samples_are_what_they_would_have_been() -> None:
    model = build(NETWORK, **WEIGHTS)
    x = np.random.default_rng(0).normal(size=(6, 3, 24, 24)).astype(np.float32)
    parts = [{"x": x[:3]}, {"x": x[3:]}]
    whole, grown = Interpreter(model, "", parts), Interpreter(model, "", parts[:1])
    for at, node in enumerate(model.graph.node):
        whole.run(node)
        if at == 4:
            grown.extend(parts[1:])
        grown.run(node)
    assert whole.values.keys() == grown.values.keys()
    for name, values in whole.values.items():
        for a, b in zip(values, grown.values[name], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_in_little_memory_the_repair_is_as_good_and_uses_every_sample(calib, monkeypatch) -> None:
    model = build(NETWORK, **WEIGHTS)
    options = {"target_macs": 0.6, "calib": calib}
    free = spa_cli.prune(model, **options)
    grown = []
    extend = Interpreter.extend
    monkeypatch.setattr(Interpreter, "extend", lambda side, more: (grown.append(len(more)), extend(side, more))[1])
    monkeypatch.setattr("spa_cli.calibration.chunks._CHUNK_BYTES", 4_000_000)
    monkeypatch.setattr(data, "working_memory", lambda: 2 * 4 * 24 * 24 * 24 * 2 * 40)
    bound = spa_cli.prune(model, **options)
    assert sum(grown) > 0
    assert bound.plan.about["repair"]["calibration"] == free.plan.about["repair"]["calibration"]
    assert bound.plan.about["repair"]["refitted"] == free.plan.about["repair"]["refitted"]
    assert doubts(bound) == []
    sliced = spa_cli.prune(model, **options, repair=False)
    assert bound.drift.relative_l2 < 1.15 * free.drift.relative_l2 < 0.8 * sliced.drift.relative_l2


def test_where_even_the_last_layer_is_large_that_is_said(calib, monkeypatch) -> None:
    model = build(
        """(float[N,3,24,24] x) => (float[N,2,24,24] y) {
          a = Conv<pads=[1,1,1,1]>(x, wa)  b = Relu(a)  y = Conv(b, wb) }""",
        wa=(24, 3, 3, 3),
        wb=(2, 24, 1, 1),
    )
    monkeypatch.setattr("spa_cli.calibration.chunks._CHUNK_BYTES", 4_000_000)
    monkeypatch.setattr(data, "working_memory", lambda: 2 * 4 * 24 * 24 * 24 * 2 * 40)
    result = spa_cli.prune(model, target_macs=0.6, calib=calib)
    (warning,) = doubts(result)
    assert warning.startswith("layers were refitted on ")
    assert " of 140 samples: the activations of all take more than " in warning


@pytest.mark.parametrize(
    ("limit", "value", "says"),
    [
        ("_TOTAL_MACS", 60 * 24 * 24 * 24 * 40.0, "a pass over all would take more than"),
        (
            "working_memory",
            lambda: 2 * 4 * 3 * 24 * 24 * 50,
            "all would take more than 0.0 GB",
        ),
    ],
)
def test_fewer_samples_than_were_given_are_never_used_in_silence(limit, value, says, calib, monkeypatch) -> None:
    model = build(NETWORK, **WEIGHTS)
    monkeypatch.setattr(data, limit, value)
    # the message asks where the limit is from
    monkeypatch.setattr(memory, limit, value, raising=False)
    result = spa_cli.prune(model, target_macs=0.7, calib=calib)
    (warning,) = (w for w in doubts(result) if "are used" in w)
    used = int(warning.split()[0])
    assert 4 <= used < 140
    assert warning.startswith(f"{used} of 140 samples of 1x3x24x24 are used: {says}")
    assert result.plan.about["repair"]["calibration"].startswith(f"{used} samples of ")


def test_positions_grow_where_samples_are_few_and_with_the_inputs_of_a_layer() -> None:
    assert data.positions(512, 576) == 64
    assert data.positions(64, 576) == 512
    assert data.positions(512, 9) == 16
    assert data.positions(10**6, 9) == 1
