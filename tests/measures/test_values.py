"""Numbers that mean themselves: errors of each group of channels, and what a mean hides."""

from __future__ import annotations

import numpy as np
import pytest

from spa_cli.measures.judged import apart, by_sample
from spa_cli.measures.values import Values

RNG = np.random.default_rng(0)


def test_groups_of_channels_are_told_apart() -> None:
    """Large coordinates hide what happens to small scores."""
    a = np.concatenate([100 * RNG.normal(size=(20, 9, 4)), RNG.random((20, 9, 3))], 2)
    b = a.copy()
    b[..., 4:] = 0
    measure = Values(-1, [("0..3, Conv", 4), ("4..6, Sigmoid", 7)])
    measure.add([a], [b], 20)
    found = measure.found
    assert found.figures["error 0..3, Conv"].value == 0
    assert found.figures["error 4..6, Sigmoid"].value == 1
    assert found.ruined and found.agreement is None
    assert found.text.startswith("error 1 [1, 1] of 4..6, Sigmoid, 0 ")


def test_runs_add_up_along_any_axis() -> None:
    a, b = RNG.normal(size=(12, 3, 5, 5)), RNG.normal(size=(12, 3, 5, 5))
    whole, parts = Values(-3), Values(-3)
    whole.add([a], [b], 12)
    for part in (slice(0, 5), slice(5, 12)):
        parts.add([a[part]], [b[part]], len(a[part]))
    error = whole.found.figures["error"]
    assert error.value == pytest.approx(np.linalg.norm(a - b) / np.linalg.norm(a))
    again = parts.found.figures["error"]
    assert (error.value, error.low) == pytest.approx((again.value, again.low))


def test_a_picture_that_is_only_grey_is_ruined() -> None:
    """It is as near as 0.3: the mean is most of it."""
    a = 120 + 40 * RNG.normal(size=(6, 3, 16, 16))
    grey = np.full_like(a, 120.0)
    measure = Values(-3)
    measure.add([a], [grey], 6)
    assert measure.found.figures["error"].value < 0.4
    assert measure.found.ruined
    near = Values(-3)
    near.add([a], [a + 10 * RNG.normal(size=a.shape)], 6)
    assert not near.found.ruined


def test_a_number_that_hardly_changes_may_move_as_little() -> None:
    a = 5 + 1e-3 * RNG.normal(size=(40, 1))
    measure = Values()
    measure.add([a], [a + 1e-2 * RNG.normal(size=(40, 1))], 40)
    assert measure.found.figures["unexplained"].value > 1
    assert not measure.found.ruined


def test_a_shift_of_everything_loses_nothing_of_how_it_varies() -> None:
    a = 2 + RNG.normal(size=(40, 3))
    measure = Values()
    measure.add([a], [a + 0.9], 40)
    assert measure.found.figures["unexplained"].value == pytest.approx(0, abs=1e-9)
    assert not measure.found.ruined


def test_what_is_no_number_is_ruined() -> None:
    a = RNG.normal(size=(4, 3))
    measure = Values()
    measure.add([a], [np.full_like(a, np.nan)], 4)
    assert measure.found.ruined


def test_how_far_numbers_are_apart() -> None:
    inf, nan = np.inf, np.nan
    a, b = np.array([1.0, -2.0]), np.array([4.0, -2.0])
    assert [v.tolist() for v in apart(a, b)] == [[-3, 0], [1, -2]]
    # finite, infinite, or none: what it was, and what it became
    a, b = np.array([1, 1, inf, inf, -inf, nan, nan]), np.array([nan, inf, inf, 1, inf, nan, 1])
    off, there = apart(a, b)
    assert off.tolist() == [inf, -inf, 0, inf, -inf, 0, 0]
    assert there.tolist() == [1, 1, 0, 0, 0, 0, 0]


def test_numbers_of_one_axis_and_of_none() -> None:
    for shape in ((8,), ()):
        measure = Values()
        measure.add([np.ones(shape)], [np.ones(shape) * 1.1], max(1, *shape, 0) if shape else 1)
        assert measure.found.figures["error"].value == pytest.approx(0.1)


def test_what_is_of_which_sample() -> None:
    assert by_sample(np.arange(6), 3).tolist() == [[0, 1], [2, 3], [4, 5]]
    assert by_sample(np.zeros((5, 3, 2)), 3).shape == (3, 1, 5, 2)
    assert by_sample(np.zeros((5, 2)), 3).shape == (1, 5, 2)
    assert by_sample(np.zeros(()), 1).shape == (1,)
