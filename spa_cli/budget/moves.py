"""The last of a choice: single groups and pairs of them are moved to other options, at exact costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from spa_cli.budget.bill import Bill
from spa_cli.budget.menu import Dish

# how often one group moves, and two do; how many options beside its own a group makes room by; pairs that are tried
_SINGLE, _PAIRS, _NEAR, _TRIED = 200, 12, 8, 24
# of what the first of a pair costs, what both together may cost less than each alone: layers between them do
_TOGETHER = (0.0, 0.25)
EXACT = 1e-9
Values = NDArray[np.float64]


class Moves:
    """All options of all groups, side by side, (n,): what taking one instead would change.

    ``worth``: how much what a group loses counts. ``prices``: of coins beside what is lost.
    """

    def __init__(
        self,
        bill: Bill,
        dishes: Mapping[int, Dish],
        worth: Callable[[int], float],
        budgets: Mapping[str, float],
        prices: Mapping[str, float],
    ) -> None:
        self._bill, self._dishes, self._worth, self._budgets, self._prices = bill, dishes, worth, budgets, prices
        self._group = np.concatenate([np.full(len(d.counts), i) for i, d in dishes.items()])
        self._counts = np.concatenate([d.counts for d in dishes.values()])
        starts = np.cumsum([0, *(len(d.counts) for d in dishes.values())])
        self._start = dict(zip(dishes, starts.tolist(), strict=False))
        self._aim, self._cost = np.zeros(len(self._group)), np.zeros((len(budgets), len(self._group)))

    def settle(self, gone: Sequence[int]) -> list[int] | None:
        """A choice within the budgets that no single move and no pair makes better; ``None`` if none is found."""
        now = list(gone)
        for _ in range(_SINGLE):
            over = self._look(now)
            move = self._towards(over) if (over > EXACT).any() else self._better(over)
            if move is None:
                break
            now[self._group[move]] = int(self._counts[move])
        if (self._over(now) > EXACT).any():
            return None
        for _ in range(_PAIRS):
            pair = self._pair(now, self._look(now))
            if pair is None:
                break
            now = pair
        return now

    def _over(self, gone: Sequence[int]) -> Values:
        """By how much each budget is exceeded, (coins,)."""
        return np.array([self._bill.left(coin, gone) - most for coin, most in self._budgets.items()])

    def _look(self, gone: Sequence[int]) -> Values:
        """Take what every option would change from where the choice stands."""
        for i, dish in self._dishes.items():
            here = slice(self._start[i], self._start[i] + len(dish.counts))
            self._aim[here] = self._worth(i) * (dish.lost - dish.lost[np.searchsorted(dish.counts, gone[i])])
            for coin, price in self._prices.items():
                self._aim[here] += price * self._bill.change(coin, i, dish.counts, gone)
            for row, coin in zip(self._cost, self._budgets, strict=True):
                row[here] = self._bill.change(coin, i, dish.counts, gone)
        return self._over(gone)

    def _towards(self, over: Values) -> int | None:
        """The move that loses least for what it brings the budgets nearer."""
        brought = np.minimum(-self._cost, over[:, None])[over > EXACT].sum(0)
        rate = np.where(brought > EXACT, self._aim / np.maximum(brought, EXACT), np.inf)
        best = int(np.argmin(rate))
        return best if np.isfinite(rate[best]) else None

    def _better(self, over: Values) -> int | None:
        """The move that loses least, if it loses less than staying."""
        fits = (self._cost + over[:, None] <= EXACT).all(0)
        aims = np.where(fits, self._aim, np.inf)
        best = int(np.argmin(aims))
        return best if aims[best] < -EXACT * np.abs(self._aim).max() else None

    def _pair(self, gone: Sequence[int], over: Values) -> list[int] | None:
        """The choice after two moves, of which one makes room for the other, that lose less together."""
        enough = -1e-6 * float(np.abs(self._aim).max())
        for share in _TOGETHER:
            found: list[tuple[float, int, int]] = []
            for i, dish in self._dishes.items():
                at = self._start[i] + int(np.searchsorted(dish.counts, gone[i]))
                near = range(max(at - _NEAR, self._start[i]), min(at + _NEAR + 1, self._start[i] + len(dish.counts)))
                for one in (n for n in near if self._aim[n] < enough):
                    room = over + self._cost[:, one] - share * np.abs(self._cost[:, one])
                    fits = (self._cost + room[:, None] <= EXACT).all(0) & (self._group != i)
                    both = np.where(fits, self._aim + self._aim[one], np.inf)
                    other = int(np.argmin(both))
                    if both[other] < enough:
                        found.append((float(both[other]), one, other))
            for _, one, other in sorted(found)[:_TRIED]:
                tried = list(gone)
                for move in (one, other):
                    tried[self._group[move]] = int(self._counts[move])
                # together they may cost more, too
                if (self._over(tried) <= EXACT).all():
                    return tried
        return None
