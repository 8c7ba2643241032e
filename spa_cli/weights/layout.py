"""How the elements of an initializer lie in the tensors of a framework."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from spa_cli.graph.model import Array

# 5! orders of axes are few; more axes are only ever taken as they are
_MOST_AXES = 5


@dataclass(frozen=True)
class Look:
    """A tensor of ``shape`` looked at as a matrix: the axes ``rows`` merged, then the axes ``columns`` merged."""

    shape: tuple[int, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return math.prod(self.shape[a] for a in self.rows), math.prod(self.shape[a] for a in self.columns)

    def matrix(self, array: Array) -> Array:
        """A tensor as this matrix."""
        return array.reshape(self.shape).transpose(self.rows + self.columns).reshape(self.size)

    def back(self, matrix: Array) -> Array:
        """The tensor that looks like ``matrix``."""
        order = self.rows + self.columns
        return matrix.reshape([self.shape[a] for a in order]).transpose(np.argsort(order))


@dataclass(frozen=True, eq=False)
class Part:
    """Rows ``own_rows`` of an initializer are the rows ``rows`` of the tensor ``key``; ``None`` means all of them."""

    key: str
    own: Look
    other: Look
    own_rows: Array | None = None
    rows: Array | None = None

    def project(self, values: Array, fill: Any) -> Array:
        """What is said of every element of the initializer, said of the tensor's; ``fill`` where nothing is said."""
        matrix = self.own.matrix(values)
        matrix = matrix if self.own_rows is None else matrix[self.own_rows]
        if self.rows is not None:
            result = np.full(self.other.size, fill, values.dtype)
            result[self.rows] = matrix
            matrix = result
        return self.other.back(matrix)

    def positions(self, axis: int) -> dict[int, Array]:
        """For an axis of the initializer, the axes of the tensor along which its indices lie, and which lies where.

        Each is an array over the tensor's axis: the index of the initializer's axis, -1 where there is none.
        """
        shape = self.own.shape
        label = np.arange(shape[axis]).reshape([-1 if a == axis else 1 for a in range(len(shape))])
        found = self.project(np.broadcast_to(label, shape), -1)
        result = {}
        for other in range(found.ndim):
            lines = np.moveaxis(found, other, 0).reshape(found.shape[other], -1)
            if found.shape[other] > 1 and (lines == lines[:, :1]).all():
                result[other] = lines[:, 0].copy()
        return result


def whole(key: str, own: tuple[int, ...], other: tuple[int, ...], order: tuple[int, ...]) -> Part:
    """The part of a tensor that, with its axes in another order, is the initializer element by element."""
    return Part(key, Look(own, (), tuple(range(len(own)))), Look(other, (), order))


def squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The axes that have a size."""
    return tuple(a for a, size in enumerate(shape) if size != 1)


def orders(shape: tuple[int, ...], like: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Orders of all axes, as they are first, then those that give the sizes of ``like``, then the others."""
    axes = squeezed(shape)
    ones = tuple(a for a, size in enumerate(shape) if size == 1)
    wanted = tuple(d for d in like if d != 1)
    found = itertools.permutations(axes) if len(axes) <= _MOST_AXES else iter([axes])
    ranked = sorted(found, key=lambda order: order != axes and tuple(shape[a] for a in order) != wanted)
    return (ones + order for order in ranked)


def columns(shape: tuple[int, ...], count: int) -> Iterator[Look]:
    """All ways to look at a tensor as rows of ``count`` elements."""
    axes = squeezed(shape)
    for taken in range(len(axes) + 1):
        few = itertools.permutations(axes, taken) if len(axes) <= _MOST_AXES else itertools.combinations(axes, taken)
        for order in few:
            if math.prod(shape[a] for a in order) == count:
                yield Look(shape, tuple(a for a in range(len(shape)) if a not in order), order)


def by_shape(key: str, own: tuple[int, ...], other: tuple[int, ...], cut: set[int]) -> Part | None:
    """How a tensor lies in an initializer of the same name, told by the shapes; ``None`` if they don't tell.

    ``cut`` are the axes of the initializer that matter; the others may be in any order.
    """
    mine, theirs = [own[a] for a in squeezed(own)], [other[a] for a in squeezed(other)]
    if mine == theirs or (math.prod(own) == math.prod(other) and _same_boundaries(own, other, cut)):
        return whole(key, own, other, tuple(range(len(other))))
    if sorted(mine) == sorted(theirs) and all(mine.count(own[a]) == 1 for a in cut):
        left = list(squeezed(other))
        order = []
        for size in mine:
            order.append(next(a for a in left if other[a] == size))
            left.remove(order[-1])
        return whole(key, own, other, (*(a for a, size in enumerate(other) if size == 1), *order))
    return None


def _same_boundaries(own: tuple[int, ...], other: tuple[int, ...], cut: set[int]) -> bool:
    """Whether a reshape splits or merges axes, without moving an index of a cut axis out of it."""
    ends = set(itertools.accumulate(other, lambda a, b: a * b, initial=1))
    return all({math.prod(own[:a]), math.prod(own[: a + 1])} <= ends for a in cut)
