"""Channel ids: which indices of which axes live and die together.

An axis of length ``n`` is described by its *rows*: an integer array of shape ``(n, k)``. Index ``j`` of the axis is
alive while **all** the ids in row ``j`` are alive; 0 stands for "no id". A freshly created axis has one id of its own
per index (``k = 1``). Merging axes ``(a, b)`` into one of length ``a*b`` (Reshape) gives rows of two ids, one from
each. Cutting ``n`` into ``(a, b)`` must give back the same: the single ids are then *refined*, globally, into pairs, so
that what can be removed is a block (an attention head) or a position inside all blocks (a head dimension), never a
single element that would leave a ragged tensor.

Three relations are enough for every operator: ``unify`` (two axes must keep the same indices), ``split`` and
``merge`` (an axis seen as several). All of them are NumPy over whole axes; equality is a union-find.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spa_cli.channels.factors import common_factors

Rows = NDArray[np.int64]
_WIDTH = 6  # an id can be refined into at most this many


@dataclass(frozen=True)
class Reason:
    """Why an id can't be removed, or not exactly: one sentence, and the node that causes it."""

    text: str
    node: str = ""


class Ids:
    """Union-find over channel ids, with refinement, freezing and an exactness mark; vectorised."""

    def __init__(self) -> None:
        self.count = 1  # id 0 is "none"
        self._parent = np.zeros(1024, np.int64)
        self._parts = np.zeros((1024, _WIDTH), np.int64)
        self._frozen = np.zeros(1024, np.int32)  # index into reasons, 0 while not frozen
        self._inexact = np.zeros(1024, np.int32)
        self.reasons: list[Reason] = [Reason("")]
        self._reason_index: dict[Reason, int] = {}
        self.refinements: list[list[Rows]] = []

    # -- creating ---------------------------------------------------------------------------------------------------

    def fresh(self, n: int) -> Rows:
        """Rows ``(n, 1)`` of new ids."""
        while self.count + n > len(self._parent):
            for name in ("_parent", "_parts", "_frozen", "_inexact"):
                old = getattr(self, name)
                setattr(self, name, np.concatenate([old, np.zeros_like(old)]))
        ids = np.arange(self.count, self.count + n)
        self._parent[ids] = ids
        self.count += n
        return ids[:, None]

    def reason(self, text: str, node: str = "") -> int:
        """Index of a reason, for ``freeze`` and ``mark_inexact``."""
        key = Reason(text, node)
        if key not in self._reason_index:
            self._reason_index[key] = len(self.reasons)
            self.reasons.append(key)
        return self._reason_index[key]

    # -- reading ----------------------------------------------------------------------------------------------------

    def find(self, ids: Rows) -> Rows:
        """Representative of each id."""
        roots = self._parent[ids]
        while True:
            above = self._parent[roots]
            if np.array_equal(above, roots):
                self._parent[ids] = roots
                return roots
            roots = above

    def normal(self, rows: Rows) -> Rows:
        """Rows in terms of representatives that are not refined further, without repeats in a row."""
        rows = self.find(rows)
        while True:
            parts = self._parts[rows]
            refined = parts[..., 0] != 0
            if not refined.any():
                break
            first = np.where(refined, parts[..., 0], rows)
            rest = np.where(refined[..., None], parts[..., 1:], 0).transpose(0, 2, 1).reshape(len(rows), -1)
            rows = self.find(_compact(np.concatenate([first, rest], 1)))
        return _without_repeats(rows)

    def frozen(self, ids: Rows) -> NDArray[np.int32]:
        """Reason index per (normal) id, 0 where it can be removed."""
        return self._frozen[ids]

    def inexact(self, ids: Rows) -> NDArray[np.int32]:
        """Reason index per (normal) id, 0 where removing equals zeroing."""
        return self._inexact[ids]

    # -- relating ---------------------------------------------------------------------------------------------------

    def freeze(self, rows: Rows, reason: int) -> None:
        """Never remove any of these ids; the first reason given stays."""
        self._mark(self._frozen, rows, reason)

    def mark_inexact(self, rows: Rows, reason: int) -> None:
        """Removing these ids is allowed, and is not the same as zeroing them."""
        self._mark(self._inexact, rows, reason)

    def _mark(self, marks: NDArray[np.int32], rows: Rows, reason: int) -> None:
        ids = self.normal(rows).ravel()
        ids = ids[ids != 0]
        marks[ids] = np.where(marks[ids] == 0, reason, marks[ids])

    def unify(self, a: Rows, b: Rows, mismatch: int) -> None:
        """Index ``j`` of both axes lives and dies together; ``mismatch`` is the reason if that can't be expressed."""
        if a is b:
            return
        for _ in range(8):
            a, b = _without_common(self.normal(a), self.normal(b))
            in_a, in_b = (a != 0).sum(1), (b != 0).sum(1)
            if not (in_a.any() or in_b.any()):
                return
            one = (in_a == 1) & (in_b == 1)
            self._union(a[one].max(1, initial=0), b[one].max(1, initial=0))
            bare = (in_a == 0) != (in_b == 0)
            if bare.any():
                # {} against {x, ...}: alive whatever happens to x, so x has to stay
                loose = np.concatenate([a[bare].ravel(), b[bare].ravel()])
                self.freeze(loose[:, None], self._a_reason(loose, mismatch))
            for single, many, rows in ((a, b, (in_a == 1) & (in_b > 1)), (b, a, (in_b == 1) & (in_a > 1))):
                if rows.any():
                    self._refine(single[rows].max(1), _compact(many[rows]), mismatch)
            both = (in_a > 1) & (in_b > 1)
            if both.any() and not self._unify_factors(a, b, both, mismatch):
                self.freeze(np.concatenate([a[both].ravel(), b[both].ravel()])[:, None], mismatch)
                return
        rest = np.concatenate([a.ravel(), b.ravel()])
        self.freeze(rest[:, None], mismatch)

    def split(self, rows: Rows, sizes: tuple[int, ...], mismatch: int) -> list[Rows]:
        """Rows of the axes of ``sizes`` (product: the axis length) whose merge is ``rows``."""
        rows = self.normal(rows)
        per_axis: list[list[Rows]] = [[] for _ in sizes]
        for column in rows.T:
            grid = column.reshape(sizes)
            varies = [t for t in range(len(sizes)) if not _constant_along(grid, t)]
            if len(varies) <= 1:
                target = varies[0] if varies else 0
                line = np.moveaxis(grid, target, 0).reshape(sizes[target], -1)[:, 0]
                per_axis[target].append(line[:, None])
                continue
            if len(varies) > _WIDTH:
                self.freeze(column[:, None], mismatch)
                continue
            new = [self.fresh(sizes[t]) for t in varies]
            self.refinements.append(new)
            digits = np.indices(sizes).reshape(len(sizes), -1)
            parts = np.concatenate([n[digits[t]] for n, t in zip(new, varies, strict=True)], 1)
            if (column == 0).any():
                self.freeze(parts[column == 0], mismatch)
            self._refine(column[column != 0], parts[column != 0], mismatch)
            for t, n in zip(varies, new, strict=True):
                per_axis[t].append(n)
        return [
            self.normal(np.concatenate(columns, 1)) if columns else np.zeros((size, 0), np.int64)
            for columns, size in zip(per_axis, sizes, strict=True)
        ]

    @staticmethod
    def merge(axes: list[Rows]) -> Rows:
        """Rows of the axis that runs over all combinations, the last axis fastest."""
        sizes = [len(a) for a in axes]
        digits = np.indices(sizes).reshape(len(sizes), -1)
        return np.concatenate([a[d] for a, d in zip(axes, digits, strict=True)], 1)

    # -- inside -----------------------------------------------------------------------------------------------------

    def _a_reason(self, ids: Rows, default: int) -> int:
        found = self._frozen[ids]
        return int(found[found != 0][0]) if (found != 0).any() else default

    def _union(self, x: Rows, y: Rows) -> None:
        """Join representatives pairwise; marks of either side hold for both."""
        x, y = self.find(x), self.find(y)
        before = np.concatenate([x, y])
        while True:
            a, b = self.find(x), self.find(y)
            apart = a != b
            if not apart.any():
                break
            high, low = np.maximum(a, b)[apart], np.minimum(a, b)[apart]
            np.minimum.at(self._parent, high, low)
        roots = self.find(before)
        for marks in (self._frozen, self._inexact):
            source = marks[before]
            given = source != 0
            keep = given & (marks[roots] == 0)
            marks[roots[keep]] = source[keep]

    def _refine(self, ids: Rows, parts: Rows, mismatch: int) -> None:
        """Replace each id everywhere by the combination ``parts`` (same length, one row of ids each)."""
        unique, first, back = np.unique(ids, return_index=True, return_inverse=True)
        chosen = parts[first]
        width = parts.shape[1]
        if width > _WIDTH or np.isin(chosen, unique).any() or np.isin(parts, unique).any():
            self.freeze(np.concatenate([ids, parts.ravel()])[:, None], mismatch)
            return
        if len(unique) < len(ids):
            again = chosen[back]
            same = (again != 0) & (parts != 0)
            self._union(again[same], parts[same])
            odd = (again != 0) ^ (parts != 0)
            self.freeze(np.concatenate([again[odd], parts[odd]])[:, None], mismatch)
        self._parts[unique, :width] = chosen
        for marks in (self._frozen, self._inexact):
            marked = marks[unique] != 0
            for reason in np.unique(marks[unique][marked]):
                self._mark(marks, chosen[marks[unique] == reason], int(reason))

    def _unify_factors(self, a: Rows, b: Rows, rows: NDArray[np.bool_], mismatch: int) -> bool:
        """Both axes are products (heads x dims): relate them factor by factor."""
        if not rows.all():
            return False
        sizes = common_factors(a, b)
        if sizes is None:
            return False
        parts_a, parts_b = self.split(a, sizes, mismatch), self.split(b, sizes, mismatch)
        for x, y in zip(parts_a, parts_b, strict=True):
            if x.shape[1] and y.shape[1] and (x.shape[1] > 1 and y.shape[1] > 1):
                return False
            self.unify(x, y, mismatch)
        return True


def _constant_along(grid: Rows, axis: int) -> bool:
    return bool((grid == np.take(grid, [0], axis)).all())


def _compact(rows: Rows) -> Rows:
    """Move the ids of each row to the left and drop columns without any."""
    order = np.argsort(rows == 0, axis=1, kind="stable")
    rows = np.take_along_axis(rows, order, 1)
    return rows[:, (rows != 0).any(0)]


def _without_repeats(rows: Rows) -> Rows:
    if rows.shape[1] < 2:
        return rows
    ordered = np.sort(rows, 1)
    repeats = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != 0)).any(1)
    if repeats.any():
        rows, some = rows.copy(), rows[repeats]
        for later in range(1, some.shape[1]):
            some[(some[:, :later] == some[:, later : later + 1]).any(1), later] = 0
        rows[repeats] = some
    used = (rows != 0).any(0)
    return rows if used.all() else rows[:, used]


def _without_common(a: Rows, b: Rows) -> tuple[Rows, Rows]:
    a, b = a.copy(), b.copy()
    for i in range(a.shape[1]):
        for j in range(b.shape[1]):
            same = (a[:, i] == b[:, j]) & (a[:, i] != 0)
            a[same, i] = 0
            b[same, j] = 0
    return a, b
