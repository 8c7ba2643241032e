"""What is trained on."""

import numpy as np
import pytest

import spa_cli
from tests.builders import build


def network(width: int) -> object:
    return build(
        f"(float[N,{width}] x) => (y) {{ a = MatMul(x, w)  b = Relu(a)  y = MatMul(b, v) }}", w=(width, 16), v=(16, 4)
    )


NARROW = network(8)


@pytest.mark.parametrize(("model", "count"), [(NARROW, 2048), (network(25_000), 1000), (network(60_000), 512)])
def test_without_data_no_more_samples_are_drawn_than_are_worth_their_time(model, count) -> None:
    small = spa_cli.prune(model, ratio=0.3, method="l1").model
    about = spa_cli.tune(small, model, epochs=1).tuned.samples
    assert about.startswith(f"{count} synthetic samples")
    assert spa_cli.tune(small, model, epochs=1, samples=64).tuned.samples.startswith("64 synthetic samples")


def test_of_data_all_are_seen(tmp_path) -> None:
    small = spa_cli.prune(NARROW, ratio=0.3, method="l1").model
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(4000, 8)).astype(np.float32))
    tuned = spa_cli.tune(small, NARROW, epochs=1, calib=tmp_path / "x.npy").tuned
    assert tuned.samples.startswith("3744 samples")


def test_without_data_samples_are_of_a_length_that_runs() -> None:
    """The first guess at a free length is less than its end is sliced from: a reflection has to fit in."""
    model = build(
        '(float[N,L] x) => (y) { a = Pad<mode="reflect">(x, pads)  b = Unsqueeze(a, one)  c = Conv(b, w)  d = Relu(c)'
        "  e = Conv(d, v)  y = ReduceMean<keepdims=0>(e, last) }",
        w=(8, 1, 64),
        v=(4, 8, 3),
        pads=np.array([0, 0, 0, 64]),
        one=np.array([1]),
        last=np.array([2]),
    )
    small = spa_cli.prune(model, ratio=0.3, method="l1").model
    found = spa_cli.tune(small, model, epochs=1, samples=64).tuned
    assert found.trained == 2 and found.samples.startswith("64 synthetic samples")
