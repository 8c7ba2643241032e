"""Choosing: one global order in which channels would go, and how far along it to walk."""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice, product

import numpy as np

from spa_cli.channels.groups import Group, Grouping
from spa_cli.channels.ranking import Ranking
from spa_cli.channels.selection import Selection
from spa_cli.channels.state import CONSUMER
from spa_cli.errors import UnreachableError

TOLERANCE = 0.02
# how many exchanges are tried before a target is refused
_EXCHANGES = 300


@dataclass(frozen=True)
class Constraints:
    """What may go: name patterns, floors, caps, multiples."""

    ignore: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    round_to: int = 1
    min_channels: int = 1
    max_group_ratio: float = 1.0
    exact_only: bool = False

    def allows(self, group: Group) -> bool:
        """Whether the group may lose channels at all."""
        if self.exact_only and not group.exact:
            return False
        if self.only and not _any_match(names(group, makers=True), self.only):
            return False
        return not _any_match(names(group, makers=False), self.ignore)


def names(group: Group, makers: bool) -> set[str]:
    """What a pattern may call a group; ``makers``: leave out those that only read its channels."""
    members = [m for m in group.members if not makers or m.role != CONSUMER]
    return {group.name, *(m.tensor for m in members), *(m.node for m in members)}


def _any_match(names: set[str], patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(n, p) for n in names for p in patterns)


@dataclass(frozen=True)
class Step:
    """The next channels of one group to go, least important first."""

    group: int
    count: int


class Order:
    """The order in which channels go: ascending importance, never emptying a layer, in multiples where asked.

    A walk along a fixed order: whatever a longer walk removes contains what a shorter one does, so a larger ratio can
    never give a larger model. ``prices``: what one channel of each group saves in the coin of the budget; channels go
    in ascending order of loss per saving (``priority``, per group that may lose channels, by removal).
    """

    def __init__(
        self,
        grouping: Grouping,
        rankings: list[Ranking],
        constraints: Constraints,
        weights: set[str],
        excluded: set[int],
        prices: list[float] | None = None,
    ) -> None:
        self._grouping = grouping
        self.eligible = [i for i, g in enumerate(grouping.groups) if i not in excluded and constraints.allows(g)]
        # a channel index of a blocked group stands for one channel of each block: each block drops its own least
        self._ranked = {i: rankings[i].order for i in self.eligible}
        self._lost = {i: np.cumsum(rankings[i].loss) for i in self.eligible}
        self.priority = {i: rankings[i].loss / (prices[i] if prices else 1.0) for i in self.eligible}
        self._floors = _Floors(grouping, weights, constraints.min_channels)
        self.total = sum(grouping.groups[i].channels for i in self.eligible)
        self.steps = self._walk(constraints)

    def _walk(self, constraints: Constraints) -> list[Step]:
        sizes = {i: _multiple(self._grouping, self._grouping.groups[i], constraints.round_to) for i in self.eligible}
        gone = dict.fromkeys(self.eligible, 0)
        queue: list[tuple[float, int, int]] = []

        def push(i: int) -> None:
            channels, start = self._grouping.groups[i].channels, gone[i]
            size = (channels - start) % sizes[i] or sizes[i]
            if start + size < channels + 1 and start + size <= constraints.max_group_ratio * channels:
                heapq.heappush(queue, (float(self.priority[i][start : start + size].mean()), i, size))

        for i in self.eligible:
            push(i)
        steps = []
        while queue:
            _, i, size = heapq.heappop(queue)
            if self._floors.take(i, size):
                gone[i] += size
                steps.append(Step(i, size))
                push(i)
        return steps

    def selection(self, steps: list[Step]) -> Selection:
        """What stays after these steps (in any order)."""
        gone: dict[int, int] = {}
        for step in steps:
            gone[step.group] = gone.get(step.group, 0) + step.count
        result = Selection(self._grouping)
        for index, count in gone.items():
            ranked = self._ranked[index]
            mask = np.ones(ranked.shape, bool)
            np.put_along_axis(mask, ranked[..., :count], False, -1)
            result.keep(index, mask)
        return result

    def lost(self, selection: Selection) -> float:
        """What a selection loses, in the coin of the scores."""
        return float(sum(self._lost[i][count - 1] for i, count in selection.gone.items() if count))

    def dearest(self, selection: Selection) -> tuple[int, float] | None:
        """The group of which the most is lost, and its share of all that is; ``None`` where nothing is."""
        lost = {i: float(self._lost[i][count - 1]) for i, count in selection.gone.items() if count}
        total = sum(lost.values())
        index = max(lost, key=lost.__getitem__, default=-1)
        return (index, lost[index] / total) if total > 0 else None

    def losing(self, loss: float) -> Selection:
        """What stays where walking along the order has lost so much, or at its end."""
        return self.until(lambda selection: self.lost(selection) >= loss)

    def until(self, reached: Callable[[Selection], bool]) -> Selection:
        """What stays after the fewest steps that reach something (all of them, if none do)."""
        steps = bisect_left(range(len(self.steps)), True, key=lambda count: reached(self.selection(self.steps[:count])))
        return self.selection(self.steps[:steps])

    def by_ratio(self, ratio: float) -> list[Step]:
        """Steps that remove ``ratio`` of all removable channels (at least one)."""
        wanted = max(1, round(ratio * self.total))
        removed = np.cumsum([s.count for s in self.steps])
        if not len(removed) or removed[-1] < wanted * (1 - TOLERANCE) - 0.5:
            best = removed[-1] / self.total if len(removed) else 0.0
            raise UnreachableError(
                f"--ratio {ratio:g} can't be reached: at most {best:.1%} of the {self.total} removable channels can go "
                "without emptying a layer or breaking the constraints; ask for less or loosen them"
            )
        end = int(np.argmin(np.abs(removed - wanted)))
        if abs(removed[end] - wanted) > max(TOLERANCE * self.total, 0.5):
            raise UnreachableError(
                f"--ratio {ratio:g} can't be met within {100 * TOLERANCE:.0f} %: "
                f"{removed[end] / self.total:.3f} is the closest; ask for that, or lower --round-to"
            )
        return self.steps[: end + 1]

    def by_cost(
        self,
        fraction: float,
        cost: Callable[[Selection], float],
        name: str,
        tolerance: float = TOLERANCE,
        exchanges: int = _EXCHANGES,
        show: Callable[[float], str] = lambda fraction: f"{fraction:.3f} of the original",
    ) -> list[Step]:
        """Steps after which ``cost`` (relative to the dense model) is ``fraction``, at most ``tolerance`` below.

        Nearer where that costs nothing but a few steps: within ``tolerance`` of the request itself. ``exchanges``: how
        many to try before refusing. ``show``: a fraction as the user gave it.
        """
        low, high = 0, len(self.steps)
        least = cost(self.selection(self.steps))
        if least > fraction + 1e-9:
            raise UnreachableError(
                f"--target-{name} can't be reached: asked was {show(fraction)}, {show(least)} is the least that can be "
                "left under these constraints; ask for that or loosen them"
            )
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if cost(self.selection(self.steps[:middle])) <= fraction else (middle + 1, high)
        best, reached = self.steps[:low], cost(self.selection(self.steps[:low]))
        near = tolerance * fraction
        if fraction - reached <= near or not low:
            return best
        # the step that crosses the target overshoots: walk on without its group, with smaller steps
        chosen, skipped = self.steps[: low - 1], {self.steps[low - 1].group}
        for step in islice((s for s in self.steps[low:] if s.group not in skipped), exchanges):
            value = cost(self.selection([*chosen, step]))
            if value > fraction:
                chosen.append(step)
                continue
            skipped.add(step.group)
            if value > reached:
                best, reached = [*chosen, step], value
            if fraction - value <= near:
                return best
        if fraction - reached <= tolerance:
            return best
        for candidate in islice(self._exchanges(low), exchanges):
            value = cost(self.selection(candidate))
            if fraction - tolerance <= value <= fraction:
                return candidate
        raise UnreachableError(
            f"--target-{name} can't be met within {100 * tolerance:.0f} % of the original: asked was {show(fraction)}, "
            f"{show(reached)} is the closest below; ask for that, or loosen the constraints"
        )

    def _exchanges(self, end: int) -> Iterator[list[Step]]:
        """The first ``end`` steps with up to eight of one group undone and up to eight of another's next ones added.

        For models of few, coarse channels, where no walk along the one order meets a target. Prefixes of each group's
        own steps are always valid together.
        """
        before, after = self.steps[:end], self.steps[end:]
        groups = sorted({s.group for s in self.steps})
        for undone, added in sorted(product(range(9), range(9)), key=sum):
            for give, take in product(groups if undone else groups[:1], groups if added else groups[:1]):
                mine = [i for i, s in enumerate(before) if s.group == give][::-1][:undone]
                extra = [s for s in after if s.group == take][:added]
                if len(mine) == undone and len(extra) == added and (give != take or not undone or not added):
                    yield [s for i, s in enumerate(before) if i not in mine] + extra


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


class _Floors:
    """Every axis of every tensor keeps at least one channel, layers at least ``min_channels``."""

    def __init__(self, grouping: Grouping, weights: set[str], min_channels: int) -> None:
        self._spare: list[int] = []
        self._of_group: dict[int, list[int]] = {}
        group_of: dict[int, int] = {int(c): i for i, g in enumerate(grouping.groups) for c in g.ids}
        for rows, places in grouping.arrays().values():
            layer = any(name in weights for name, _ in places)
            for column in rows.T:
                ids = np.unique(column[column != 0])
                owners = {group_of[int(i)] for i in ids if int(i) in group_of}
                floor = min(min_channels, len(ids)) if layer else 1
                for owner in owners:
                    self._of_group.setdefault(owner, []).append(len(self._spare))
                self._spare.append(len(ids) - max(1, floor))

    def take(self, group: int, count: int) -> bool:
        """Take ``count`` channels of a group if no axis falls below its floor."""
        axes = self._of_group.get(group, [])
        if any(self._spare[a] < count for a in axes):
            return False
        for a in axes:
            self._spare[a] -= count
        return True
