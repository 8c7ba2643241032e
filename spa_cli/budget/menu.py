"""The menu: for every group that may lose channels, how many may go, and what is lost with them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from spa_cli.budget.constraints import Constraints
from spa_cli.budget.ties import Ties
from spa_cli.channels.groups import Group, Grouping
from spa_cli.channels.ranking import Ranking, losses
from spa_cli.channels.selection import Selection

# of a wider group not every width is an option
_OPTIONS = 256
_LARGEST = 16
_NO_TIES = Ties()
Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Dish:
    """One group: ``counts`` (k,) of channels that may go, from 0 on, and what is ``lost`` (k,) with them."""

    counts: Counts
    lost: NDArray[np.float64]


class Menu:
    """What may be chosen of every group (by index), and what a choice leaves.

    A channel of a group of blocks stands for one channel of each block: each block drops its own least. ``weights``:
    names of the parameters that are layers; ``excluded``: groups that stay whole, whatever the constraints say.
    ``blocks``: groups that may lose all their channels, each with all groups that then go. ``ties``: groups of which as
    many go as of each other, or none at all; they are one dish, under the first of them.
    """

    def __init__(
        self,
        grouping: Grouping,
        rankings: Sequence[Ranking],
        constraints: Constraints,
        weights: Collection[str],
        excluded: Collection[int] = (),
        blocks: Mapping[int, Collection[int]] = MappingProxyType({}),
        ties: Ties = _NO_TIES,
    ) -> None:
        self._grouping, self._rankings, self.ties = grouping, rankings, ties
        able = {i for i, g in enumerate(grouping.groups) if i not in excluded and constraints.allows(g)}
        self.eligible = [i for i in sorted(able) if able.issuperset(ties.of(i))]
        # those that could go alone, each with one that can't and would have to
        self.tied = {i: next(k for k in ties.of(i) if k not in able) for i in sorted(able.difference(self.eligible))}
        self._blocks = {i: set(b) for i, b in blocks.items() if i in self.eligible and {*b} <= {*self.eligible}}
        self.total = sum(grouping.groups[i].channels for i in self.eligible)
        self._axes = _axes(grouping, weights, constraints.min_channels)
        self.caps = {i: self._cap(i, constraints.max_group_ratio) for i in self.eligible}
        lost = losses([rankings[i] for i in self.eligible])
        self._lost = {i: np.concatenate([[0.0], np.cumsum(own)]) for i, own in zip(self.eligible, lost, strict=True)}
        self.dishes = {
            i: self._together([self._dish(k, constraints.round_to) for k in ties.of(i)])
            for i in self.caps
            if ties.first(i) == i
        }

    def _cap(self, index: int, most: float) -> int:
        channels = self._grouping.groups[index].channels
        spare = [axis.spare for axis in self._axes if axis.owners == {index}]
        return max(min([math.floor(most * channels + 1e-9), *spare]), 0)

    @staticmethod
    def _together(dishes: list[Dish]) -> Dish:
        """What all of these allow, and what is lost of all."""
        counts = dishes[0].counts[[all(c in d.counts for d in dishes) for c in dishes[0].counts]]
        return Dish(counts, np.sum([d.lost[np.searchsorted(d.counts, counts)] for d in dishes], 0))

    def _dish(self, index: int, round_to: int) -> Dish:
        channels, cap = self._grouping.groups[index].channels, self.caps[index]
        step = _multiple(self._grouping, self._grouping.groups[index], round_to)
        counts = np.array([0, *range(channels % step or step, cap + 1, step)], np.int64)
        while len(counts) > _OPTIONS:
            # rounder widths stay, and the least there can be
            step *= 2
            counts = np.unique([0, *counts[(channels - counts) % step == 0], counts[-1]])
        if index in self._blocks:
            counts = np.unique([*counts, channels])
        return Dish(counts, self._lost[index][counts])

    def vector(self, gone: Mapping[int, int]) -> list[int]:
        """The same for all groups, (g,)."""
        return [gone.get(i, 0) for i in range(len(self._rankings))]

    def priority(self, index: int) -> NDArray[np.float64]:
        """What each removal of a group loses, in the order in which its channels would go."""
        return self._rankings[index].loss

    def lost(self, gone: Mapping[int, int]) -> float:
        """What is lost, in the coin of the scores, with so many channels of each group."""
        return float(sum(self._lost[i][count] for i, count in self.ties.all(gone).items()))

    def dearest(self, gone: Mapping[int, int]) -> tuple[int, float] | None:
        """The group of which the most is lost, and its share of all that is; ``None`` where nothing is."""
        lost = {i: float(self._lost[i][count]) for i, count in gone.items() if count}
        total = sum(lost.values())
        index = max(lost, key=lost.__getitem__, default=-1)
        return (index, lost[index] / total) if total > 0 else None

    def crowded(self, gone: Mapping[int, int]) -> tuple[int, int] | None:
        """(group, how many of it may go at most) where an axis that several groups share would be left too narrow.

        Of those the group is taken that gives the least up by it; all that are tied to it then keep as many.
        """
        gone = self.ties.all(gone)
        for axis in self._axes:
            over = sum(gone.get(i, 0) for i in axis.owners) - axis.spare
            if over > 0 and len(axis.owners) > 1:
                able = [i for i in axis.owners if gone.get(i, 0)]
                least = min(able, key=lambda i: self._regained(i, gone[i], over))
                return self.ties.first(least), max(gone[least] - over, 0)
        return None

    def most(self) -> dict[int, int]:
        """As many channels as may go, by group, whatever is lost with them: rankings don't change that."""
        gone = self.ties.all({i: int(d.counts[-1]) for i, d in self.dishes.items()})
        for axis in self._axes:
            while (over := sum(gone.get(i, 0) for i in axis.owners) - axis.spare) > 0 and len(axis.owners) > 1:
                # of the group that most go of, as many less as its widths allow
                index = self.ties.first(max(sorted(axis.owners), key=lambda i: gone.get(i, 0)))
                counts = self.dishes[index].counts
                cap = max(gone[index] - over, 0)
                gone |= self.ties.all({index: int(counts[counts <= cap][-1])})
        return gone

    def _regained(self, index: int, count: int, over: int) -> float:
        lost = self._lost[index]
        return float(lost[count] - lost[max(count - over, 0)]) / min(over, count)

    def selection(self, gone: Mapping[int, int]) -> Selection:
        """What stays where so many channels of each group go, the least important first."""
        result = Selection(self._grouping)
        for index, count in self.ties.all(gone).items():
            if count:
                result.keep(index, kept(self._rankings[index], count))
        whole = self.whole(gone)
        return result.copy_emptied({*whole, *(i for one in whole for i in self._blocks[one])}) if whole else result

    def whole(self, gone: Mapping[int, int]) -> list[int]:
        """The blocks that go whole, each by its group; not those inside others."""
        found = [i for i in self._blocks if gone.get(i) == self._grouping.groups[i].channels]
        return [i for i in found if not any(i in self._blocks[other] for other in found if other != i)]

    def multiples(self, selection: Selection) -> dict[str, int]:
        """How many of the groups that were cut have widths of 16, 8, 4 and 2 channels, and of any number."""
        found = Counter(math.gcd(width, _LARGEST) for width in selection.widths.values())
        return {str(multiple): count for multiple, count in sorted(found.items(), reverse=True)}


def kept(ranking: Ranking, gone: int) -> NDArray[np.bool_]:
    """The mask of a group without its ``gone`` least important channels (of every block as many)."""
    mask = np.ones(ranking.order.shape, bool)
    np.put_along_axis(mask, ranking.order[..., :gone], False, -1)
    return mask


def _multiple(grouping: Grouping, group: Group, round_to: int) -> int:
    """Channels to remove at a time so that every layer's width stays a multiple of ``round_to``.

    Where an axis is a product (heads x dims) the inner factor stays a multiple by itself; the outer one is then free.
    """
    steps = [1]
    for member in group.members:
        rows = grouping.rows[member.tensor, member.axis]
        column = rows[:, np.isin(rows, group.ids).any(0)][:, 0]
        inner = rows.shape[1] > 1 and len(column) > 1 and column[0] != column[1]
        steps.append(round_to // math.gcd(round_to, 1 if inner else member.rows))
    return math.lcm(*steps)


@dataclass(frozen=True)
class _Axis:
    """An axis of which ``spare`` indices may go, whichever of its groups they are of."""

    owners: frozenset[int]
    spare: int


def _axes(grouping: Grouping, weights: Collection[str], min_channels: int) -> list[_Axis]:
    """Every axis of every tensor keeps at least one channel, layers at least ``min_channels``."""
    group_of = {int(c): i for i, g in enumerate(grouping.groups) for c in g.ids}
    found = dict[frozenset[int], int]()
    for rows, places in grouping.arrays().values():
        layer = any(name in weights for name, _ in places)
        for column in rows.T:
            ids = np.unique(column[column != 0])
            owners = frozenset(group_of[int(i)] for i in ids if int(i) in group_of)
            if owners:
                spare = len(ids) - max(1, min(min_channels, len(ids)) if layer else 1)
                found[owners] = min(spare, found.get(owners, spare))
    return [_Axis(owners, spare) for owners, spare in found.items()]
