"""Intervals keep what they promise: of many repetitions on synthetic data, about 95 % hold what is true."""

from __future__ import annotations

import math

import numpy as np
import pytest

from spa_cli.measures.interval import Estimate, Tally, ends, jackknife, share, student
from spa_cli.measures.values import relative

REPEATED = 400


def covered(estimates: list[Estimate], truth: float) -> float:
    return float(np.mean([e.low <= truth <= e.high for e in estimates]))


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(1, 12.706), (2, 4.303), (3, 3.182), (7, 2.365), (30, 2.042), (1000, 1.962)]
)
def test_quantiles_of_student(freedom, quantile) -> None:
    assert student(freedom) == pytest.approx(quantile, rel=5e-3)


@pytest.mark.parametrize("samples", [16, 64])
@pytest.mark.parametrize("spread", [0.5, 1.0])
def test_drift_of_samples_that_differ(samples, spread) -> None:
    """Errors of samples are log-normal, as those of networks nearly are; lengths differ too."""
    rng = np.random.default_rng(0)
    truth = math.sqrt(math.exp(spread**2 / 2) / math.exp(0.3**2 / 2)) * 0.1
    found = [
        relative(0.01 * np.exp(spread * rng.standard_normal(samples)), np.exp(0.3 * rng.standard_normal(samples)))
        for _ in range(REPEATED)
    ]
    assert 0.88 <= covered(found, truth) <= 0.98


@pytest.mark.parametrize("truth", [0.5, 0.9, 0.98])
@pytest.mark.parametrize("samples", [16, 64])
def test_shares_of_one_thing_a_sample(samples, truth) -> None:
    rng = np.random.default_rng(1)
    ones = np.ones(samples)
    found = [share((rng.random(samples) < truth).astype(float), ones) for _ in range(REPEATED)]
    assert 0.93 <= covered(found, truth) <= 0.995


def test_shares_of_many_things_a_sample_are_as_wide_as_samples_differ() -> None:
    """400 pixels of a sample that stand or fall together are no 400 things."""
    rng = np.random.default_rng(2)
    found = []
    for _ in range(REPEATED):
        own = rng.beta(8, 2, 32)
        found.append(share(rng.binomial(400, own).astype(float), np.full(32, 400.0)))
    assert 0.9 <= covered(found, 0.8) <= 0.99
    naive = 2 * 1.96 * math.sqrt(0.8 * 0.2 / (32 * 400))
    assert np.mean([e.high - e.low for e in found]) > 4 * naive


def test_means() -> None:
    rng = np.random.default_rng(3)
    found = [jackknife([rng.normal(3, 1, 20), np.ones(20)], lambda a, b: a / b) for _ in range(REPEATED)]
    assert 0.92 <= covered(found, 3.0) <= 0.98


def test_where_all_hit_few_samples_promise_little() -> None:
    few, many = share(np.ones(4), np.ones(4)), share(np.ones(400), np.ones(400))
    assert (few.value, few.high, many.high) == (1, 1, 1)
    assert few.low < 0.5 < 0.98 < many.low


def test_one_sample_has_no_interval_and_none_no_figure() -> None:
    assert math.isnan(share(np.ones(1), np.ones(1)).low)
    assert share(np.ones(1), np.ones(1)).least == 1
    assert math.isnan(share(np.zeros(3), np.zeros(3)).value)
    assert math.isnan(relative(np.ones(1), np.ones(1)).high)


def test_nothing_that_moved_is_certain() -> None:
    assert relative(np.zeros(5), np.ones(5)) == Estimate(0.0, 0.0, 0.0)
    assert relative(np.ones(5), np.zeros(5)).value == np.inf


def test_a_tally_keeps_samples_apart() -> None:
    tally = Tally(2)
    assert [c.tolist() for c in tally.columns] == [[], []]
    tally.add([1, 2], [3, 4])
    tally.add([5], [6])
    assert [c.tolist() for c in tally.columns] == [[1, 2, 5], [3, 4, 6]]


def test_ends_that_are_far_apart_say_nothing() -> None:
    shown = [ends(*pair, "{:.2g}".format) for pair in ((0.1, 0.3), (6.4e-7, 8.7e4), (0.0, 2.0), (-1.0, 5.0))]
    assert shown == [" [0.1, 0.3]", " [uncertain]", " [0, 2]", " [-1, 5]"]
