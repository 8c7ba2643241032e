"""Where the values of an initializer are found: as a whole, or row by row in several tensors."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from spa_cli.graph.model import Array
from spa_cli.weights.layout import Look, Part, columns, orders, squeezed, whole
from spa_cli.weights.rows import Table, resolve
from spa_cli.weights.tensors import bits, comparable, is_constant, is_number

_PROBES = 64
# tensors of single numbers (biases) are looked up element by element up to this size
_SMALL = 1 << 16


class ValueIndex:
    """The tensors of a framework, to be found by what is in them. Constant ones are not: nothing tells them apart."""

    def __init__(self, tensors: Mapping[str, Array]) -> None:
        numbers = {k: t for k, t in tensors.items() if t.size > 1 and is_number(t.dtype)}
        self.tensors = {k: t for k, t in numbers.items() if not is_constant(t)}
        self._marks: dict[Any, dict[tuple[int, int, int], list[str]]] = {}
        self._tables: dict[Any, Table] = {}

    def equal(self, array: Array) -> list[str]:
        """Keys of tensors that hold these values in some order (very likely)."""
        if array.dtype not in self._marks:
            marks = self._marks[array.dtype] = defaultdict(list)
            for key, tensor in self.tensors.items():
                if comparable(tensor.dtype, array.dtype):
                    marks[fingerprint(bits(tensor, array.dtype))].append(key)
        return self._marks[array.dtype].get(fingerprint(bits(array)), [])

    def aligned(self, array: Array, key: str) -> Part | None:
        """How a tensor, with its axes in some order, equals ``array`` bit by bit; ``None`` if it doesn't."""
        tensor = self.tensors.get(key)
        if tensor is None or tensor.size != array.size or not comparable(tensor.dtype, array.dtype):
            return None
        mine, theirs = bits(array).reshape(-1), bits(tensor, array.dtype)
        probes = np.unique(np.linspace(0, array.size - 1, _PROBES).astype(np.int64))
        for order in orders(tensor.shape, array.shape):
            turned = theirs.transpose(order)
            if np.array_equal(turned[np.unravel_index(probes, turned.shape)], mine[probes]) and np.array_equal(
                turned.reshape(-1), mine
            ):
                return whole(key, array.shape, tensor.shape, order)
        return None

    def assembled(self, array: Array) -> list[Part]:
        """The parts an array is made of: several tensors side by side, some rows of one, rows in another order.

        Either every tensor is used up, or only one is used; anything else (and rows that can't be told apart) is no
        find, and gives nothing.
        """
        for own in _looks(array.shape):
            matrix = own.matrix(bits(array))
            tables = [True, False] if own.size[1] == 1 else [False]
            for flat in tables:
                parts = resolve(own, matrix, self._table(array.dtype, own.size[1], flat))
                if parts and self._clean(parts, array):
                    return parts
        return []

    def _table(self, dtype: np.dtype[Any], count: int, flat: bool) -> Table:
        """Rows of ``count`` elements of all tensors; ``flat``: of those only that are a single line."""
        if (dtype, count, flat) not in self._tables:
            table, seen = Table(), set[tuple[Any, ...]]()
            for key, tensor in self.tensors.items():
                axes = len(squeezed(tensor.shape))
                if tensor.size % count or not comparable(tensor.dtype, dtype) or (flat and axes > 1):
                    continue
                if count == 1 and tensor.size > _SMALL:
                    continue
                looks = list(columns(tensor.shape, count))
                # tied tensors are one
                mark = (tensor.shape, *fingerprint(bits(tensor, dtype))) if looks else ()
                if not looks or mark in seen:
                    continue
                seen.add(mark)
                for look in looks:
                    table.add(key, look, look.matrix(bits(tensor, dtype)))
            self._tables[dtype, count, flat] = table.sorted()
        return self._tables[dtype, count, flat]

    def _clean(self, parts: list[Part], array: Array) -> bool:
        used = [p.key for p in parts]
        full = all(p.rows is not None and len(p.rows) == p.other.size[0] for p in parts)
        if len(set(used)) < len(used) or not (full or len(used) == 1):
            return False
        mine = bits(array)
        for part in parts:
            theirs = part.other.matrix(bits(self.tensors[part.key], array.dtype))
            if not np.array_equal(theirs[part.rows], part.own.matrix(mine)[part.own_rows]):
                return False
        return True


def fingerprint(values: Array) -> tuple[int, int, int]:
    """The same for the same bits in any order, and hardly ever for others."""
    flat = values.reshape(-1)
    return flat.size, int(flat.sum(dtype=np.uint64)), int(np.bitwise_xor.reduce(flat * (flat | 1)))


def _looks(shape: tuple[int, ...]) -> Iterator[Look]:
    """Ways to look at an initializer as rows that come from somewhere: one axis, or leading axes; long rows first."""
    axes = squeezed(shape)
    choices = {(a,) for a in axes} | {axes[:n] for n in range(2, len(axes))}
    if math.prod(shape) <= _SMALL:
        choices.add(axes)
    looks = [Look(shape, c, tuple(a for a in range(len(shape)) if a not in c)) for c in sorted(choices)]
    return iter(sorted(looks, key=lambda look: look.size[0]))
