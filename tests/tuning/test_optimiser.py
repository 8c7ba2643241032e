"""Steps are relative to what they change; the rate goes up and down."""

from __future__ import annotations

import numpy as np
import pytest

from spa_cli.tuning.optimiser import Adam, warmed
from spa_cli.tuning.whitened import White


@pytest.mark.parametrize("size", [1e-2, 1.0, 1e3])
def test_a_step_changes_a_weight_by_its_rate_however_large_it_and_its_gradient_are(size) -> None:
    rng = np.random.default_rng(0)
    weights = {"w": (size * rng.normal(size=(20, 30))).astype(np.float32)}
    before = weights["w"].copy()
    Adam(weights, White({}, {})).step(weights, {"w": (1e4 * rng.normal(size=(20, 30))).astype(np.float32)}, 0.01)
    moved = np.sqrt(np.mean(np.square(weights["w"] - before)))
    assert moved == pytest.approx(0.01 * np.sqrt(np.mean(np.square(before))), rel=0.05)


def test_the_least_of_a_bowl_is_found() -> None:
    target = np.random.default_rng(0).normal(size=50).astype(np.float32)
    weights = {"w": np.ones(50, np.float32)}
    adam = Adam(weights, White({}, {}))
    for step in range(400):
        adam.step(weights, {"w": weights["w"] - target}, 0.1 * warmed(step / 400))
    np.testing.assert_allclose(weights["w"], target, atol=0.02)


def test_a_weight_of_zeros_moves_and_one_without_a_gradient_stays() -> None:
    weights = {"zero": np.zeros(3, np.float32), "flat": np.ones(3, np.float32)}
    Adam(weights, White({}, {})).step(weights, {"zero": np.ones(3, np.float32), "flat": np.zeros(3, np.float32)}, 0.1)
    assert (weights["zero"] < 0).all()
    np.testing.assert_array_equal(weights["flat"], 1)


def test_matrices_shrink_and_vectors_do_not() -> None:
    weights = {"m": np.ones((2, 2), np.float32), "v": np.ones(2, np.float32)}
    Adam(weights, White({}, {})).step(weights, {n: np.zeros_like(w) for n, w in weights.items()}, 0.5)
    assert (weights["m"] < 1).all()
    np.testing.assert_array_equal(weights["v"], 1)


def test_the_rate_warms_up_and_ends_at_nothing() -> None:
    rates = [warmed(part) for part in np.linspace(0, 1, 201)]
    assert rates[0] == 0
    assert max(rates) == rates[10] == 1
    assert rates[-1] == pytest.approx(0, abs=1e-12)
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)
