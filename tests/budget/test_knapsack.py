"""The multiple-choice knapsack, against every combination there is."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from spa_cli.budget.knapsack import pack


def _classes(rng: np.random.Generator, integers: bool) -> tuple[list[np.ndarray], list[np.ndarray]]:
    sizes = rng.integers(1, 6, rng.integers(1, 5))
    losses = [rng.gamma(0.5, 1.0, k) for k in sizes]
    # integers have ties, and costs below nothing give room to others
    costs = [rng.integers(0, 6, k).astype(float) if integers else rng.standard_normal(k) for k in sizes]
    return losses, costs


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 100_000), integers=st.booleans(), capacity=st.floats(-3, 12))
def test_the_choice_is_the_best_of_all(seed, integers, capacity) -> None:
    losses, costs = _classes(np.random.default_rng(seed), integers)
    every = [
        sum(one[o] for one, o in zip(losses, options, strict=True))
        for options in itertools.product(*(range(len(one)) for one in losses))
        if sum(one[o] for one, o in zip(costs, options, strict=True)) <= capacity + 1e-12
    ]
    packed = pack(losses, costs, capacity)
    assert (packed is None) == (not every)
    if packed is not None:
        assert sum(one[o] for one, o in zip(costs, packed.options, strict=True)) <= capacity + 1e-9
        assert np.isclose(sum(one[o] for one, o in zip(losses, packed.options, strict=True)), min(every))


def test_many_wide_classes_come_within_the_gap_that_is_told() -> None:
    rng = np.random.default_rng(0)
    losses = [np.cumsum(np.sort(rng.random(96))) * rng.random() for _ in range(100)]
    costs = [-np.arange(96) * rng.random() for _ in range(100)]
    capacity = 0.5 * sum(c.min() for c in costs)
    packed = pack(losses, costs, capacity)
    assert packed is not None
    loss = sum(one[o] for one, o in zip(losses, packed.options, strict=True))
    assert sum(c[o] for c, o in zip(costs, packed.options, strict=True)) <= capacity + 1e-9
    assert 0 <= packed.gap < 1e-3 * loss


def test_the_price_is_what_a_little_more_room_saves() -> None:
    """Two items of 3 and 1 per unit: room for the dear one only is worth what the other would save."""
    losses, costs = [np.array([0.0, 3.0]), np.array([0.0, 1.0])], [np.array([1.0, 0.0]), np.array([1.0, 0.0])]
    packed = pack(losses, costs, 1.0)
    assert packed is not None
    assert packed.options == [0, 1]
    assert np.isclose(packed.price, 1.0)


def test_the_price_alone_fits_too() -> None:
    losses, costs = [np.array([0.0, 1.0, 1.5])] * 3, [np.array([3.0, 2.0, 0.0])] * 3
    rough, exact = pack(losses, costs, 5.0, exact=False), pack(losses, costs, 5.0)
    assert rough is not None
    assert exact is not None
    total = [sum(losses[0][o] for o in found.options) for found in (rough, exact)]
    assert sum(costs[0][o] for o in rough.options) <= 5.0
    assert total[1] <= total[0]
