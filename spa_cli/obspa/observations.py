"""What a layer reads and what it should give, in rows: those to fit to, and those that judge."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from spa_cli.graph.model import Array
from spa_cli.obspa.moments import summed
from spa_cli.threads import each

# rows that are worked on at once
_LEAST_BLOCK, _BLOCK_BYTES = 256, 16_000_000


@dataclass(frozen=True, eq=False)
class Observations:
    """What a layer reads and what it should give: ``x`` (g, n, p), ``low`` and ``high`` (g, n, o).

    Any value between ``low`` and ``high`` is as good as any other. Where there is one right value they are the same
    array, or equal; the activation that follows may be flat (below zero for Relu), which leaves a half-line.
    """

    x: Array
    low: Array
    high: Array

    @staticmethod
    def of(x: Array, bounds: tuple[Array, Array], move: Callable[[Array], Array]) -> Observations:
        """Rows, and bounds that are moved alike; those that are the same array are so afterwards."""
        low, high = bounds
        moved = move(low)
        return Observations(x, moved, moved if high is low else move(high))

    @staticmethod
    def joined(parts: Sequence[Observations]) -> Observations:
        """All rows of several chunks."""
        low = _joined([p.low for p in parts])
        # where there is one right value each, it is not stored twice
        exact = all(p.exact for p in parts)
        return Observations(_joined([p.x for p in parts]), low, low if exact else _joined([p.high for p in parts]))

    def part(self, which: slice) -> Observations:
        """Some of the rows."""
        return Observations.of(self.x[:, which], (self.low, self.high), lambda bound: bound[:, which])

    def less(self, offset: Array) -> Observations:
        """With targets less an offset (g, o)."""
        wide = offset[:, None].astype(np.float32)
        return Observations.of(self.x, (self.low, self.high), lambda bound: bound - wide)

    @property
    def exact(self) -> bool:
        """Whether there is one right value each, stored once."""
        return self.high is self.low

    def nearest(self, y: Array) -> Array:
        """The allowed values nearest to ``y``."""
        return self.low if self.exact else np.clip(y, self.low, self.high)

    @cached_property
    def open(self) -> bool:
        """Whether any target is a half-line."""
        return not (np.isfinite(self.low).all() and (self.exact or np.isfinite(self.high).all()))

    @property
    def numbers(self) -> bool:
        """Whether nothing is NaN, and infinite only what is open to one side."""
        bounded = np.isfinite(self.low) if self.exact else (self.low < np.inf) & (self.high > -np.inf)
        return bool(np.isfinite(self.x).all() and bounded.all())

    def missed(self, w: Array, b: Array) -> Array:
        """Mean squared distance of ``W x + b`` from what is allowed, per output; (g, o)."""

        def of(part: Observations) -> Array:
            y = predict(part.x, w, b)
            y -= part.nearest(y)
            return np.asarray(np.einsum("gno,gno->go", y, y))

        total = sum(each(of, self.blocks()), np.zeros(b.shape))
        return np.asarray(total / self.x.shape[1])

    def shifted(self, w: Array, b: Array) -> Array:
        """Intercepts for which the mean of what is missed is zero."""

        def of(part: Observations) -> Array:
            y = predict(part.x, w, b)
            return summed(part.nearest(y) - y)

        return np.asarray(b + sum(each(of, self.blocks()), np.zeros(b.shape)) / self.x.shape[1])

    def judge(self) -> Callable[[Array, Array], float]:
        """What weights and intercepts miss on these rows, relative to the spread of each output."""
        # an output that is off nearly always has hardly any: what it misses must not outweigh all others
        spread = self.nearest(np.zeros(1, np.float32)).var(1, dtype=np.float64)
        scale = np.maximum(spread, max(1e-2 * float(spread.mean()), 1e-12))
        return lambda w, b: float((self.missed(w, b) / scale).mean())

    def blocks(self) -> Iterator[Observations]:
        """The rows in parts that a cache holds: what is made of them is small, and nothing large is written."""
        size = max(_LEAST_BLOCK, _BLOCK_BYTES // (4 * (self.x[:, 0].size + 3 * self.low[:, 0].size)))
        return (self.part(slice(at, at + size)) for at in range(0, self.x.shape[1], size))


@dataclass(frozen=True, eq=False)
class Split:
    """Rows, the first ``cut`` of them to fit to; the others judge."""

    rows: Observations
    cut: int

    @staticmethod
    def of(fit: Sequence[Observations], held_back: Sequence[Observations]) -> Split:
        """Of several chunks what is to be fitted to, and what judges."""
        return Split(Observations.joined([*fit, *held_back]), sum(part.x.shape[1] for part in fit))

    @cached_property
    def fit(self) -> Observations:
        """Those to fit to."""
        return self.rows.part(slice(self.cut))

    @cached_property
    def held_back(self) -> Observations:
        """Those that judge."""
        return self.rows.part(slice(self.cut, None))


def predict(x: Array, w: Array, b: Array) -> Array:
    """``W x + b``; (g, n, o)."""
    y = np.matmul(x, w.astype(np.float32).transpose(0, 2, 1))
    y += b[:, None].astype(np.float32)
    return np.asarray(y)


def _joined(arrays: Sequence[Array]) -> Array:
    """One behind the other along axis 1: most of it is waiting for memory, which cores can do at the same time."""
    first, ends = arrays[0], np.cumsum([0, *(a.shape[1] for a in arrays)])
    found = np.empty((first.shape[0], ends[-1], *first.shape[2:]), np.result_type(*arrays))

    def put(at: int) -> None:
        found[:, ends[at] : ends[at + 1]] = arrays[at]

    for _ in each(put, range(len(arrays))):
        pass
    return found
