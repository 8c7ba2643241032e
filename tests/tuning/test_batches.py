"""Every sample once before any comes again, in what the model takes."""

from __future__ import annotations

from itertools import islice

import numpy as np

from spa_cli.calibration.chunks import Calibration
from spa_cli.tuning.batches import Batches
from tests.builders import build

FREE = build("(float[N,2] x) => (y) { y = Relu(x) }")
FIXED = build("(float[2,2] x) => (y) { y = Relu(x) }")


def _of(model, chunks, size) -> Batches:
    from spa_cli.runtime.load import load

    return Batches.of(load(model).graph, Calibration(chunks, ""), size)


def _numbers(count) -> np.ndarray:
    return np.repeat(np.arange(count, dtype=np.float32)[:, None], 2, 1)


def test_chunks_are_joined_and_cut_where_the_batch_is_free() -> None:
    batches = _of(FREE, [{"x": _numbers(7)[:4]}, {"x": _numbers(7)[4:]}], 3)
    assert batches.samples == 7 and batches.steps == 2
    first = [parts[0]["x"][:, 0] for parts in islice(batches((), np.random.default_rng(0)), 2)]
    assert [len(f) for f in first] == [3, 3]
    assert len(set(np.concatenate(first))) == 6
    assert [len(f["x"]) for f in batches.in_order()] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate([f["x"] for f in batches.in_order()]), _numbers(7))


def test_runs_of_a_fixed_size_make_a_step_together() -> None:
    batches = _of(FIXED, [{"x": _numbers(8)[i : i + 2]} for i in range(0, 8, 2)], 4)
    assert batches.steps == 2
    steps = list(islice(batches((), np.random.default_rng(0)), 2))
    assert [len(parts) for parts in steps] == [2, 2]
    assert sorted(v for parts in steps for f in parts for v in f["x"][:, 0]) == [*range(8)]


def test_fewer_samples_than_a_step_takes_are_one_step() -> None:
    batches = _of(FREE, [{"x": _numbers(3)}], 8)
    assert batches.steps == 1
    (parts,) = islice(batches((), np.random.default_rng(0)), 1)
    assert sorted(parts[0]["x"][:, 0]) == [0, 1, 2]


def test_scalars_beside_samples_keep_chunks_as_they_are() -> None:
    chunks = [{"x": _numbers(2), "k": np.array(1.0, np.float32)}] * 3
    model = build("(float[N,2] x, float k) => (y) { y = Mul(x, k) }")
    assert not _of(model, chunks, 4).free


def test_samples_of_one_step_are_mixed_whatever_a_run_takes() -> None:
    chunks = [{"x": np.full((2, 2), i, np.float32)} for i in range(4)]
    batches = _of(FIXED, chunks, 8)
    (parts,) = islice(batches(("mix",), np.random.default_rng(0)), 1)
    assert [p["x"].shape for p in parts] == [(2, 2)] * 4
    seen = {float(v) for p in parts for v in p["x"][:, 0]}
    assert seen - {0.0, 1.0, 2.0, 3.0}


def test_a_step_is_made_in_several_runs_where_that_is_free() -> None:
    from spa_cli.runtime.load import load

    batches = Batches.of(load(FREE).graph, Calibration([{"x": _numbers(9)}], ""), 5, together=2)
    assert batches.runs_of_a_step == 2 and batches.steps == 1
    (parts,) = islice(batches((), np.random.default_rng(0)), 1)
    assert [len(f["x"]) for f in parts] == [3, 2]
    assert len({float(v) for f in parts for v in f["x"][:, 0]}) == 5
    assert [len(f["x"]) for f in batches.in_order()] == [3, 3, 3]
    few = Batches.of(load(FREE).graph, Calibration([{"x": _numbers(1)}], ""), 5, together=2)
    assert few.runs_of_a_step == 1
