"""How far outputs moved: over many runs as over one, and when that is too far."""

from __future__ import annotations

import numpy as np
import pytest

from spa_cli.errors import UsageError, VerificationError
from spa_cli.verification.drift import Agreement, Drift, Moved, counted, drift, drift_over


def outputs(n: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(n, 4)).astype(np.float32), rng.integers(0, 3, (n, 2))]


def test_many_runs_are_like_one() -> None:
    a, b = outputs(10, 0), outputs(10, 1)
    moved = Moved()
    for part in (slice(0, 3), slice(3, 10)):
        moved.add([v[part] for v in a], [v[part] for v in b])
    whole = drift(a, b)
    assert moved.drift.relative_l2 == pytest.approx(whole.relative_l2)
    assert (moved.drift.agreement, moved.drift.kappa) == pytest.approx((whole.agreement, whole.kappa))


def test_what_a_run_was_filled_up_with_does_not_count_twice() -> None:
    feeds = {"x": np.zeros((4, 2)), "scalar": np.zeros(())}
    a, one = np.arange(8).reshape(4, 2), np.zeros((1, 3))
    assert [o.tolist() for o in counted([a, one], feeds, 1)] == [[[6, 7]], one.tolist()]
    assert counted([a], feeds, None)[0] is a


def test_agreement_that_is_chance_is_none() -> None:
    """Nine of ten pixels are background: a network that only says so agrees on nine of ten."""
    right = np.array(([0] * 9 + [1]) * 100)
    lazy = Agreement()
    lazy.add(right, np.zeros_like(right))
    assert lazy.share == 0.9
    assert lazy.kappa < 0.25
    same = Agreement()
    same.add(right, right)
    assert (same.share, same.kappa) == (1.0, 1.0)


def test_a_few_samples_condemn_nobody() -> None:
    few, many = Agreement(), Agreement()
    few.add(np.arange(4), np.array([0, 1, 2, 9]))
    many.add(np.arange(400), np.r_[np.arange(100), np.full(300, -1)])
    assert few.kappa > 0.9
    assert many.kappa < 0.4


def test_masks_of_infinity_have_not_moved_and_new_ones_have() -> None:
    a = np.array([[1.0, -np.inf, np.nan]])
    assert drift([a], [a.copy()]).relative_l2 == 0
    assert drift([a], [np.array([[2.0, -np.inf, 5.0]])]).relative_l2 == 1
    for spoilt in (np.nan, np.inf):
        found = drift([a], [np.array([[spoilt, -np.inf, np.nan]])])
        assert found.relative_l2 == np.inf
        assert not found.resembles


def test_an_output_that_is_a_list_is_one_output() -> None:
    """Classes of one more run weigh as much as they are many."""
    moved = Moved()
    moved.add([[{"a": 1.0}] * 64, np.zeros(64, np.int64)], [[{"a": 1.0}] * 64, np.zeros(64, np.int64)])
    moved.add([[{"a": 1.0}], np.zeros(1, np.int64)], [[{"a": 1.0}], np.ones(1, np.int64)])
    assert moved.drift.agreement == pytest.approx(64 / 65)


@pytest.mark.parametrize(
    ("found", "resembles"),
    [
        (Drift(0.2, 0.9, 0.9), True),
        (Drift(0.69, None), True),
        (Drift(0.71, None), False),
        (Drift(0.45, 0.3, 0.3), False),
        # values that hardly moved, and a class that is nearly always the same
        (Drift(0.2, 0.8, 0.1), True),
        (Drift(float("nan"), 0.9, 0.2), False),
        (Drift(float("nan"), 0.9, 0.8), True),
        (Drift(float("nan"), None), True),
    ],
)
def test_when_a_network_is_another_one(found, resembles) -> None:
    assert found.resembles is resembles


class _Session:
    """Runs, or doesn't."""

    def __init__(self, runs: bool) -> None:
        self.runs = runs

    def get_inputs(self) -> list:
        return []

    def run(self, _names: None, _feeds: dict) -> list[np.ndarray]:
        if not self.runs:
            raise RuntimeError("out of bounds")
        return [np.ones(3)]


def test_who_does_not_run_is_told_apart() -> None:
    works, fails = _Session(True), _Session(False)
    assert drift_over(works, works, [({}, None)]).relative_l2 == 0
    with pytest.raises(UsageError, match=r"the original does not run on one of the samples \(out of bounds\); give"):
        drift_over(fails, works, [({}, None)])
    said = r"the result does not run on a sample that the original runs on \(out of bounds\); please report it"
    with pytest.raises(VerificationError, match=said):
        drift_over(works, fails, [({}, None)])


def test_what_is_said_then() -> None:
    assert Drift(0.934, 0.125, 0.1).warning("64 held-back samples of x.npz") == (
        "the outputs no longer resemble the original's (drift 0.93, arg-max agrees on 12%, on 64 held-back samples of "
        "x.npz); ask for less, give more samples with --calib, or train the result"
    )
    assert "(arg-max agrees on 12%, on 3" in Drift(float("nan"), 0.125, 0.1).warning("3 samples")
