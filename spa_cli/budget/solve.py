"""The choice under budgets: of every group as many channels as lose least together, at exact costs.

A multiple-choice knapsack (``knapsack.py``) whose costs are not those of each group alone: a layer between two groups
costs the product of their widths. So costs are taken along each group from where the last choice stood, and the
knapsack is solved again until the choice stands. Then single groups and pairs are moved as long as that loses less
(``moves.py``), with costs as they are. Budgets after the first, and time where it is only to be saved by the way, are
prices on what is lost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from spa_cli.budget.bill import SECONDS, Bill
from spa_cli.budget.knapsack import pack
from spa_cli.budget.menu import Dish, Menu
from spa_cli.budget.moves import EXACT, Moves

# how often costs are taken anew, a price is doubled at most, and halved between what is too little and enough
_TURNS, _DOUBLINGS, _HALVINGS, _GIFTS = 12, 40, 8, 6
# of what time is worth, where more of it would leave too little or lose too much
_HURRIES = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02)
# a budget is met where no more is left than it says and no less than this much below, as fractions of the original
TOLERANCE = 0.02


@dataclass(frozen=True)
class Solution:
    """``gone``: channels that go, by group. ``loss``: what is lost with them.

    ``price``: what a little more of the first budget, as a fraction of the dense model's cost, would save of that.
    """

    gone: dict[int, int]
    loss: float
    price: float


class Solver:
    """Least loss within budgets. ``worth``: how much what each group (by index) loses counts; 1 where it isn't said."""

    def __init__(self, menu: Menu, bill: Bill, worth: Mapping[int, float] = {}) -> None:
        self.menu, self.bill, self._worth = menu, bill, worth

    def left(self, coin: str, gone: Mapping[int, int]) -> float:
        """What is left in a coin where so many channels of each group go."""
        return self.bill.left(coin, self.menu.vector(gone))

    def most(self) -> dict[int, int]:
        """As many channels as may go, by group."""
        return self.menu.most()

    def solve(
        self, budgets: Mapping[str, float], hurry: float = 0.0, near: bool = False, bearable: float = math.inf
    ) -> Solution | None:
        """Least loss where no more than ``budgets`` (fractions, by coin) are left; ``None`` where that can't be.

        ``hurry``: what a fraction of the time is worth beside it, as a multiple of what the same fraction of the first
        budget is. ``bearable``: what may be lost for it, as a multiple of what is lost without. ``near``: rather lose
        more than leave much less than a budget that is the only one.
        """
        everything = self.most()
        if any(self.left(coin, everything) > most + EXACT for coin, most in budgets.items()):
            return None
        plain = self._roomy(budgets, {})
        if hurry and SECONDS not in budgets:
            most = bearable * self._lost(plain)
            for share in _HURRIES:
                found = self._roomy(budgets, {SECONDS: share * hurry * plain.price})
                # saving time by the way is no reason to leave much less than was asked for, nor to lose much more
                near_enough = not near or self._short(found, budgets) <= TOLERANCE + EXACT
                if near_enough and self._lost(found) <= most:
                    return found
        return self._nearer(plain, budgets) if near and len(budgets) == 1 else plain

    def _lost(self, found: Solution) -> float:
        """What is lost, each group by how much that counts."""
        return self._aim(self.menu.vector(found.gone), {})

    def _short(self, found: Solution, budgets: Mapping[str, float]) -> float:
        """How much less is left than the nearest budget allows."""
        return min(most - self.left(coin, found.gone) for coin, most in budgets.items())

    def _nearer(self, found: Solution, budgets: Mapping[str, float]) -> Solution:
        """What leaves little less than a budget, where what loses least leaves much less.

        A coarse channel may be worth less than all the fine ones in its place; who asks for half means no third.
        """
        (coin,) = budgets
        best, gift = found, found.price or found.loss or 1.0
        for _ in range(_GIFTS):
            if self._short(best, budgets) <= TOLERANCE + EXACT:
                break
            tried = self._roomy(budgets, {coin: -gift})
            if self.left(coin, tried.gone) > self.left(coin, best.gone):
                best = tried
            gift *= 2
        return best

    def _roomy(self, budgets: Mapping[str, float], prices: Mapping[str, float]) -> Solution:
        """Without more of several groups that share an axis than it can spare."""
        dishes = dict(self.menu.dishes)
        while True:
            found = self._priced(dishes, budgets, prices)
            crowded = self.menu.crowded(found.gone)
            if crowded is None:
                return found
            index, cap = crowded
            fits = dishes[index].counts <= cap
            dishes[index] = Dish(dishes[index].counts[fits], dishes[index].lost[fits])

    def _priced(self, dishes: dict[int, Dish], budgets: Mapping[str, float], prices: Mapping[str, float]) -> Solution:
        """All but the first budget as prices that rise until they are kept, and no further than they have to."""
        (first, most), *others = budgets.items()
        gone, price = self._settled(dishes, first, most, prices)
        known = dict(prices)
        for coin, allowed in others:
            if self.left(coin, gone) <= allowed + EXACT:
                continue
            before, low, high = known.get(coin, 0.0), 0.0, price or 1e-6
            for _ in range(_DOUBLINGS):
                gone, _ = self._settled(dishes, first, most, {**known, coin: before + high})
                if self.left(coin, gone) <= allowed + EXACT:
                    break
                low, high = high, 2 * high
            for _ in range(_HALVINGS):
                middle = (low + high) / 2
                tried, _ = self._settled(dishes, first, most, {**known, coin: before + middle})
                low, high = (low, middle) if self.left(coin, tried) <= allowed + EXACT else (middle, high)
            known[coin] = before + high
            gone, _ = self._settled(dishes, first, most, known)
        moves = Moves(self.bill, dishes, self._weigh, budgets, prices)
        # from the other end of the road and from halfway costs differ, and so may where they lead
        everything = self.most()
        half = dict(enumerate(_between(dishes, self.menu.vector({}), self.menu.vector(everything))))
        starts = [gone, *(self._settled(dishes, first, most, known, start)[0] for start in (half, everything))]
        found = [m for start in starts if (m := moves.settle(self.menu.vector(start))) is not None]
        # as much as may go is within all budgets, or nothing is
        found = found or [self.menu.vector(self.most())]
        best = min(found, key=lambda gone: self._aim(gone, prices))
        final = {i: best[i] for i in dishes if best[i]}
        return Solution(self.menu.ties.all(final), self.menu.lost(final), price)

    def _aim(self, gone: list[int], prices: Mapping[str, float]) -> float:
        lost = sum(self._weigh(i) * self.menu.lost({i: gone[i]}) for i in self.menu.dishes)
        return lost + sum(price * self.bill.left(coin, gone) for coin, price in prices.items())

    def _settled(
        self,
        dishes: dict[int, Dish],
        coin: str,
        most: float,
        prices: Mapping[str, float],
        start: Mapping[int, int] = {},
    ) -> tuple[dict[int, int], float]:
        """The choice that comes again at its own costs, or the last that it goes back and forth between; the price.

        ``start``: where costs are taken first.
        """
        at, seen = self.menu.vector(start), list[list[int]]()
        for _ in range(_TURNS):
            # one that only nearly is the best shows where costs have to be known
            found, _ = self._packed(dishes, coin, most, prices, at, exact=False)
            if found == at:
                break
            # where it goes back and forth, from between the two
            at = found if found not in seen else _between(dishes, at, found)
            seen.append(found)
        found, price = self._packed(dishes, coin, most, prices, at, exact=True)
        return {i: found[i] for i in dishes}, price

    def _packed(
        self,
        dishes: dict[int, Dish],
        coin: str,
        most: float,
        prices: Mapping[str, float],
        at: list[int],
        exact: bool,
    ) -> tuple[list[int], float]:
        """What the knapsack gives (of what does not fit the cheapest) with costs as they are there; the price."""
        losses = [
            self._weigh(i) * d.lost + sum(p * self.bill.change(c, i, d.counts, at) for c, p in prices.items())
            for i, d in dishes.items()
        ]
        costs = [self.bill.change(coin, i, d.counts, at) for i, d in dishes.items()]
        packed = pack(losses, costs, most - self.bill.left(coin, at), exact)
        options = [int(np.argmin(c)) for c in costs] if packed is None else packed.options
        gone = {i: int(d.counts[o]) for (i, d), o in zip(dishes.items(), options, strict=True)}
        return self.menu.vector(gone), 0.0 if packed is None else packed.price

    def _weigh(self, index: int) -> float:
        return self._worth.get(index, 1.0)


def _between(dishes: dict[int, Dish], one: list[int], other: list[int]) -> list[int]:
    """The options halfway between two choices."""
    found = list(one)
    for index, dish in dishes.items():
        found[index] = int(dish.counts[np.argmin(np.abs(dish.counts - (one[index] + other[index]) / 2))])
    return found
