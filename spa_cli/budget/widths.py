"""How long axes are where so many channels of each group are gone, whichever those are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from spa_cli.channels.groups import Grouping
from spa_cli.channels.ids import Rows
from spa_cli.operators.contracts import ShapeOf


class Widths:
    """Lengths of axes by how many channels of every group (g,) are gone; each is counted once."""

    def __init__(self, grouping: Grouping) -> None:
        self._grouping = grouping
        self._group_of = np.full(grouping.count, -1, np.int64)
        for index, group in enumerate(grouping.groups):
            self._group_of[group.ids] = index
        self._groups: dict[int, tuple[int, ...]] = {}
        self._known: dict[tuple[int, tuple[int, ...]], int] = {}

    def groups(self, rows: Rows) -> tuple[int, ...]:
        """The groups whose channels make an axis longer."""
        if id(rows) not in self._groups:
            found = np.unique(self._group_of[rows])
            self._groups[id(rows)] = tuple(int(i) for i in found if i >= 0)
        return self._groups[id(rows)]

    def axes(self, names: Sequence[str], dense: ShapeOf) -> dict[tuple[str, int], Rows]:
        """Axes of tensors from which channels of some group can go, with their rows; ``dense`` gives their shapes."""
        rows = self._grouping.rows
        places = [(name, at) for name in names for at in range(len(dense(name)))]
        return {p: rows[p] for p in places if p in rows and self.groups(rows[p])}

    def of(self, rows: Rows, gone: Sequence[int]) -> int:
        """How many indices of an axis stay."""
        groups = self.groups(rows)
        key = (id(rows), tuple(gone[i] for i in groups))
        if key not in self._known:
            alive = np.ones(self._grouping.count, bool)
            for index, count in zip(groups, key[1], strict=True):
                alive[self._grouping.groups[index].ids[:count]] = False
            self._known[key] = int(alive[rows].all(1).sum())
        return self._known[key]


def distinct(axes: Mapping[tuple[str, int], Rows]) -> list[Rows]:
    """The rows of axes, those that several share once, in their order."""
    return list({id(r): r for r in axes.values()}.values())
