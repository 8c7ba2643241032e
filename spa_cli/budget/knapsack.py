"""The multiple-choice knapsack: one option of every class, of least loss, within a capacity.

Exact by dynamic programming over states that no other dominates (Sinha and Zoltners 1979, Kellerer, Pferschy and
Pisinger 2004, chapter 11): the Lagrangian relaxation gives a bound and a price, options whose reduced loss exceeds
the gap can't be in any better solution, and what is left of the classes is merged one by one. Where more states are
left than fit, the best of each slice of the capacity stay: then the result is feasible, and within ``gap`` of the
optimum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

_STATES = 1024
_HALVINGS = 60


@dataclass(frozen=True)
class Packed:
    """``options``: the index that is taken in each class. ``price``: what one unit of the capacity is worth.

    ``gap``: how far the loss lies above the Lagrangian bound at most; 0 where it is proven optimal by it alone.
    """

    options: list[int]
    price: float
    gap: float


def pack(losses: Sequence[Values], costs: Sequence[Values], capacity: float, exact: bool = True) -> Packed | None:
    """Choose one option a class so that the costs add up to ``capacity`` at most and the losses to the least.

    ``losses``, ``costs``: per class, (options,), of any sign. ``None`` if nothing fits. Unless ``exact``, by the price
    alone, as near below the capacity as that comes.
    """
    slack = 1e-12 * max(1.0, abs(capacity), *(float(np.abs(c).max()) for c in costs))
    capacity += slack
    if sum(float(c.min()) for c in costs) > capacity:
        return None
    price, options = _priced(losses, costs, capacity)
    loss = _sum(losses, options)
    bound = sum(float((one + price * cost).min()) for one, cost in zip(losses, costs, strict=True)) - price * capacity
    gap = max(loss - bound, 0.0)
    if not exact or gap <= 1e-12 * max(abs(loss), abs(bound)):
        return Packed(options, price, gap)
    reduced = [one + price * cost for one, cost in zip(losses, costs, strict=True)]
    left = [np.flatnonzero(r - r.min() <= gap * (1 + 1e-9)) for r in reduced]
    better = _merge(losses, costs, left, capacity)
    if better is not None and _sum(losses, better) < loss:
        options = better
    return Packed(options, price, max(_sum(losses, options) - bound, 0.0))


def _sum(values: Sequence[Values], options: list[int]) -> float:
    return float(sum(v[o] for v, o in zip(values, options, strict=True)))


def _priced(losses: Sequence[Values], costs: Sequence[Values], capacity: float) -> tuple[float, list[int]]:
    """The least price at which everyone choosing for himself fits, and what is then chosen."""
    # by rising cost, so that of equals the cheapest is the first
    orders = [np.lexsort((one, cost)) for one, cost in zip(losses, costs, strict=True)]
    loss, cost = (
        _padded([v[o] for v, o in zip(values, orders, strict=True)], filler)
        for values, filler in ((losses, np.inf), (costs, 0.0))
    )
    classes = np.arange(len(orders))

    def at(price: float) -> tuple[float, NDArray[np.intp]]:
        chosen = np.argmin(loss + price * cost, axis=1)
        return float(cost[classes, chosen].sum()), chosen

    low, high = 0.0, 0.0
    spent, chosen = at(high)
    scale = max(float(np.ptp(one)) for one in losses) / max(max(float(np.ptp(c)) for c in costs), 1e-300) or 1.0
    for _ in range(200):
        if spent <= capacity:
            break
        low, high = high, 4 * high or scale
        spent, chosen = at(high)
    else:
        # nothing but the cheapest of all fit
        chosen = np.zeros(len(orders), np.intp)
    for _ in range(_HALVINGS):
        if high - low <= 1e-12 * high:
            break
        middle = (low + high) / 2
        spent, found = at(middle)
        low, high, chosen = (low, middle, found) if spent <= capacity else (middle, high, chosen)
    return high, [int(order[i]) for order, i in zip(orders, chosen, strict=True)]


def _padded(values: list[Values], filler: float) -> Values:
    """One row a class."""
    rows = np.full((len(values), max(map(len, values))), filler)
    for row, one in zip(rows, values, strict=True):
        row[: len(one)] = one
    return rows


def _merge(
    losses: Sequence[Values], costs: Sequence[Values], left: list[NDArray[np.int64]], capacity: float
) -> list[int] | None:
    """The best combination of the options that are left, class by class."""
    least = [*np.cumsum([float(costs[i][o].min()) for i, o in enumerate(left)][::-1])[::-1], 0.0]
    cost, loss = np.zeros(1), np.zeros(1)
    origins: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    for index, options in enumerate(left):
        both_cost = (cost[:, None] + costs[index][options]).ravel()
        both_loss = (loss[:, None] + losses[index][options]).ravel()
        fits = np.flatnonzero(both_cost <= capacity - least[index + 1])
        order = fits[np.lexsort((both_loss[fits], both_cost[fits]))]
        # a state that costs more has to lose less
        best = np.minimum.accumulate(both_loss[order])
        order = order[np.concatenate([[True], both_loss[order][1:] < best[:-1]])] if len(order) else order
        if not len(order):
            return None
        if len(order) > _STATES:
            order = order[np.unique(np.linspace(0, len(order) - 1, _STATES).astype(np.int64))]
        origins.append((order // len(options), options[order % len(options)]))
        cost, loss = both_cost[order], both_loss[order]
    at = int(np.argmin(loss))
    chosen = []
    for parents, options in reversed(origins):
        chosen.append(int(options[at]))
        at = int(parents[at])
    return chosen[::-1]
