"""Rows to fit to and to judge by: parts of them, all of them, and what is stored once."""

from __future__ import annotations

import numpy as np
import pytest

from spa_cli.obspa.observations import Observations, Split


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def exact(rng) -> Observations:
    target = rng.normal(size=(2, 50, 3)).astype(np.float32)
    return Observations(rng.normal(size=(2, 50, 4)).astype(np.float32), target, target)


def test_one_right_value_each_stays_stored_once(exact) -> None:
    parts = [exact.part(slice(0, 20)), exact.part(slice(20, None))]
    joined = Observations.joined(parts)
    assert all(rows.exact for rows in (*parts, joined, joined.less(np.ones((2, 3)))))
    assert np.array_equal(joined.low, exact.low) and np.array_equal(joined.x, exact.x)
    assert not Observations(exact.x, exact.low, exact.low + 1).part(slice(3)).exact


def test_stored_once_and_stored_twice_are_the_same_problem(exact, rng) -> None:
    twice = Observations(exact.x, exact.low, exact.low.copy())
    w, b = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 3))
    assert not twice.exact and not twice.open and not exact.open
    assert np.array_equal(exact.missed(w, b), twice.missed(w, b))
    assert np.array_equal(exact.shifted(w, b), twice.shifted(w, b))
    assert exact.judge()(w, b) == twice.judge()(w, b) > 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_seen(exact, value) -> None:
    assert exact.numbers
    exact.low[1, 2, 0] = value
    assert not exact.numbers
    assert not Observations(exact.x, exact.low, exact.low.copy()).numbers


def test_a_split_holds_its_rows_once(exact) -> None:
    parts = [exact.part(slice(at, at + 10)) for at in range(0, 50, 10)]
    split = Split.of(parts[:3], parts[3:])
    assert np.array_equal(split.fit.x, exact.x[:, :30]) and np.array_equal(split.held_back.low, exact.low[:, 30:])
    assert np.shares_memory(split.fit.x, split.rows.x) and np.shares_memory(split.held_back.low, split.rows.low)
