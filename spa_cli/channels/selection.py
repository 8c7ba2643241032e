"""Which channels of each group stay, and what that means for any axis of any tensor."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
from numpy.typing import NDArray

from spa_cli.channels.groups import Group, Grouping
from spa_cli.channels.ids import Rows
from spa_cli.channels.slices import shape_of

Mask = NDArray[np.bool_]


class Selection:
    """Kept channels: a mask per group, ``(c,)``, or ``(b, c)`` with equal row sums where blocks choose."""

    def __init__(self, grouping: Grouping) -> None:
        self._grouping = grouping
        self._alive = np.ones(grouping.count, bool)
        # of channels that blocks choose for themselves, group numbers from 1 on; made when there are any
        self._slot = self._group_of = np.zeros(0, np.int64)
        self._block_of: dict[int, dict[int, int]] = {}
        self.kept: dict[int, Mask] = {}

    def copy_without(self, groups: Iterable[int]) -> Selection:
        """The same selection with some groups left whole."""
        left_out = set(groups)
        other = Selection(self._grouping)
        for index, mask in self.kept.items():
            if index not in left_out:
                other.keep(index, mask)
        return other

    def copy_emptied(self, groups: Collection[int]) -> Selection:
        """The same selection with no channel of some groups left."""
        other = self.copy_without(groups)
        for index in groups:
            other.keep(index, np.zeros(shape_of(self._grouping.groups[index]), bool))
        return other

    def keep(self, index: int, mask: Mask) -> None:
        """Keep the channels of group ``index`` that ``mask`` says."""
        group = self._grouping.groups[index]
        if mask.all():
            return
        self.kept[index] = mask
        if mask.ndim == 1:
            self._alive[group.ids[~mask]] = False
            return
        if not len(self._slot):
            self._slot, self._group_of = np.zeros((2, len(self._alive)), np.int64)
        self._slot[group.ids] = np.arange(group.channels)
        self._group_of[group.ids] = index + 1
        self._block_of[index] = {int(b): i for i, b in enumerate(group.blocks)}

    @property
    def gone(self) -> dict[int, int]:
        """How many channels of each group go (of every block as many), by the group's index."""
        return {i: int((~mask.reshape(-1, mask.shape[-1])[0]).sum()) for i, mask in self.kept.items()}

    @property
    def widths(self) -> dict[int, int]:
        """How many channels of each group that loses some stay (of every block as many), by the group's index."""
        return {i: self._grouping.groups[i].channels - gone for i, gone in self.gone.items()}

    @property
    def emptied(self) -> frozenset[int]:
        """Indices of the groups of which nothing stays."""
        return frozenset(i for i, mask in self.kept.items() if not mask.any())

    @property
    def removed(self) -> int:
        """How many channels go."""
        return sum(self.gone.values())

    def groups(self) -> list[tuple[Group, Mask]]:
        """Groups that lose something, with what they keep."""
        return [(self._grouping.groups[i], m) for i, m in sorted(self.kept.items())]

    def mask(self, rows: Rows) -> Mask:
        """Which indices of an axis with these (normal) rows stay.

        Where blocks choose for themselves and this axis does not say which block (another axis of the tensor does),
        the mask has the right *number* of indices, the first ones of each run.
        """
        alive: Mask = np.asarray(self._alive[rows].all(1))
        if not len(self._slot):
            return alive
        groups = self._group_of[rows]
        for number in np.unique(groups[groups > 0]):
            index, hit = int(number) - 1, groups == number
            where = hit.any(1)
            slots = np.where(hit, self._slot[rows], 0).sum(1)
            keep = self.kept[index]
            block = self._block(rows, index)
            if block is None:
                width = int(keep[0].sum())
                alive &= ~where | (slots < width)
            else:
                alive &= ~where | keep[np.maximum(block, 0), slots]
        return np.asarray(alive)

    def blocks(self, rows: Rows) -> list[NDArray[np.int64]] | None:
        """Kept indices per block, if this axis keeps different ones in each; ``None`` otherwise."""
        if not len(self._slot):
            return None
        groups = self._group_of[rows]
        found = np.unique(groups[groups > 0])
        if not len(found) or self._block(rows, int(found[0]) - 1) is not None:
            return None
        index = int(found[0]) - 1
        slots = np.where(groups == found[0], self._slot[rows], 0).sum(1)
        alive = self._alive[rows].all(1)
        return [np.flatnonzero(alive & keep[slots]) for keep in self.kept[index]]

    def for_each(self, rows: Rows, of: Rows) -> list[NDArray[np.int64]] | None:
        """The same for each index of another axis, ``of``, where that tells the blocks apart; ``None`` otherwise."""
        blocks = self.blocks(rows)
        if blocks is None:
            return None
        which = self._block(of, int(self._group_of[rows].max()) - 1)
        return None if which is None or (which < 0).any() else [blocks[b] for b in which]

    def _block(self, rows: Rows, index: int) -> NDArray[np.int64] | None:
        blocks = self._grouping.groups[index].blocks
        beside = np.isin(rows, blocks)
        if not beside.any():
            return None
        lookup = self._block_of[index]
        column = np.where(beside, rows, 0).max(1)
        return np.array([lookup.get(int(c), -1) for c in column])
