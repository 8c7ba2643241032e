"""Rows of matrices by their content."""

from __future__ import annotations

import numpy as np

from spa_cli.graph.model import Array
from spa_cli.weights.layout import Look, Part

_CHUNK = 1 << 22


class Table:
    """Rows of many tensors, sorted by what is in them."""

    def __init__(self) -> None:
        self.views: list[tuple[str, Look]] = []
        self.hashes = np.zeros(0, np.uint64)
        self.view = np.zeros(0, np.int64)
        self.row = np.zeros(0, np.int64)
        self._parts: list[Array] = []

    def add(self, key: str, look: Look, matrix: Array) -> None:
        """The rows of a tensor (its bits, as integers)."""
        self.views.append((key, look))
        self._parts.append(hashes(matrix))

    def sorted(self) -> Table:
        """Ready to be searched."""
        if self._parts:
            every = np.concatenate(self._parts)
            lengths = [len(p) for p in self._parts]
            order = np.argsort(every, kind="stable")
            self.hashes = every[order]
            self.view = np.repeat(np.arange(len(lengths)), lengths)[order]
            self.row = np.concatenate([np.arange(n) for n in lengths])[order]
            self._parts = []
        return self


def hashes(matrix: Array) -> Array:
    """One number a row, the same for the same bits."""
    count = max(1, matrix.shape[1])
    odd = np.random.default_rng(count).integers(0, 1 << 63, count, dtype=np.uint64) * 2 + 1
    step = max(1, _CHUNK // count)
    parts = [
        (matrix[i : i + step].astype(np.uint64) * odd).sum(1, dtype=np.uint64) for i in range(0, len(matrix), step)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, np.uint64)


def resolve(own: Look, matrix: Array, table: Table) -> list[Part]:
    """The tensors that the rows of ``matrix`` come from; nothing if a row is found nowhere or in several places.

    A row that occurs several times belongs where its neighbour's neighbour lies. Rows of zeros may come from nowhere:
    exporters fill up with them.
    """
    wanted = hashes(matrix)
    first, last = (np.searchsorted(table.hashes, wanted, side) for side in ("left", "right"))
    zero = ~matrix.any(1)
    if ((first == last) & ~zero).any() or zero.all():
        return []
    place = np.where(last - first == 1, first, -1)
    # a zero row that is found once may still be filling
    place[zero] = -1
    for step, line in ((1, range(1, len(matrix))), (-1, range(len(matrix) - 2, -1, -1))):
        for r in line:
            near = place[r - step]
            if place[r] >= 0 or near < 0:
                continue
            here = np.arange(first[r], last[r])
            fits = here[(table.view[here] == table.view[near]) & (table.row[here] == table.row[near] + step)]
            place[r] = fits[0] if len(fits) else -1
    if ((place < 0) & ~zero).any():
        return []
    used, parts = np.flatnonzero(place >= 0), []
    for view in np.unique(table.view[place[used]]):
        key, look = table.views[view]
        mine = used[table.view[place[used]] == view]
        rows = table.row[place[mine]]
        if len(np.unique(rows)) < len(rows):
            return []
        parts.append(Part(key, own, look, mine, rows))
    return parts
