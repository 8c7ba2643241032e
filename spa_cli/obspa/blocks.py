"""Weights of a few bits that share a scale block by block (``MatMulNBits``): as numbers, and back into their bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from spa_cli.adjoints.integers import unpacked
from spa_cli.graph.known import Read
from spa_cli.graph.model import Array, Graph, Node
from spa_cli.obspa.parameter_path import ParameterPath

_BITS = (2, 4, 8)
# fractions of the range of a block that its integers may span: what lies beyond is clipped
_SPANS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6)
# of the mean of diag H, added to it before rounding errors are passed on
_DAMPING = 1e-2


@dataclass(frozen=True, eq=False)
class Blocks(ParameterPath):
    """``name``: bytes (n, blocks, bytes of a block), several integers in one; ``scale``: (n, blocks), perhaps in line.

    ``zero``: where zero lies among the integers, packed like them, as numbers, or in the middle where it is not said.
    A weight (n, ``inputs``) is ``(integer - zero) * scale``; of the last block what is over says nothing.
    """

    bits: int = 4
    size: int = 32
    inputs: int = 0

    def value(self, read: Read, shape_of: Callable[[str], tuple[int, ...]]) -> Array | None:
        """What the bytes stand for, in float64, (n, k); ``None`` if they are no parameter."""
        stored = read(self.name)
        if stored is None:
            return None
        n, count = stored.shape[:2]
        integers = unpacked(stored.reshape(n * count, -1), self.bits)[:, : self.size].reshape(n, count, self.size)
        scale, zero = self._around(read, n, count)
        return np.asarray(((integers - zero) * scale).reshape(n, -1)[:, : self.inputs])

    def back(self, value: Array, read: Read) -> Array:
        """The bytes nearest to ``value``, whose scales may be others: ``written`` has those."""
        return self.written(value, read)[self.name]

    def written(self, value: Array, read: Read, h: Array | None = None) -> dict[str, Array]:
        """All parameters for a weight (n, k) that is rounded: bytes, scales and zero points.

        ``h`` (k, k): the covariance of what it reads. With it the rounding error of an input is made up for by the
        inputs after it, as far as those can (GPTQ: Frantar, Ashkboos, Hoefler and Alistarh 2022).
        """
        stored, scales = read(self.name), read(self.scale)
        assert stored is not None and scales is not None
        (n, count), k = stored.shape[:2], value.shape[1]
        w = np.zeros((n, count * self.size))
        w[:, :k] = value
        passing = _passing(h, w.shape[1]) if h is not None else None
        old_scale, old_zero = self._around(read, n, count)
        integers = np.zeros((n, count, self.size), np.int64)
        scale, zero = old_scale[..., 0].copy(), np.broadcast_to(old_zero, (n, count, 1))[..., 0].copy()
        for block in range(count):
            here = slice(block * self.size, (block + 1) * self.size)
            scale[:, block], zero[:, block] = self._range(
                w[:, here], old_scale[:, block, 0], zero[:, block], scales.dtype
            )
            errors = np.zeros((n, self.size))
            for at in range(self.size):
                column, place = block * self.size + at, integers[:, block]
                place[:, at] = self._nearest(w[:, column, None], scale[:, block], zero[:, block])[:, 0]
                if passing is not None:
                    missed = w[:, column] - (place[:, at] - zero[:, block]) * scale[:, block]
                    errors[:, at] = missed / passing[column, column]
                    w[:, column + 1 : here.stop] -= np.outer(errors[:, at], passing[column, column + 1 : here.stop])
            if passing is not None:
                w[:, here.stop :] -= errors @ passing[here, here.stop :]
        found = {self.name: _packed(integers.reshape(n * count, -1), self.bits).reshape(stored.shape)}
        found[self.scale] = scale.reshape(scales.shape).astype(scales.dtype)
        if self.zero:
            old = read(self.zero)
            assert old is not None
            numbers = old.dtype.kind == "f"
            lines = zero if numbers else _packed(zero.astype(np.int64), self.bits)
            found[self.zero] = lines.reshape(old.shape).astype(old.dtype)
        return found

    def _around(self, read: Read, n: int, count: int) -> tuple[Array, Array]:
        """Scales and zero points, (n, blocks, 1); one zero point where all have the same."""
        scale, zero = read(self.scale), read(self.zero) if self.zero else None
        assert scale is not None
        middle: Array = np.full((1, 1, 1), float(2 ** (self.bits - 1)))
        if zero is not None:
            numbers = zero if zero.dtype.kind == "f" else unpacked(zero.reshape(n, -1), self.bits)
            middle = numbers.astype(np.float64).reshape(n, -1)[:, :count, None]
        return scale.astype(np.float64).reshape(n, count, 1), middle

    def _range(self, w: Array, scale: Array, zero: Array, kind: np.dtype) -> tuple[Array, Array]:
        """Scale and zero point (n,) of a block (n, size), those it has among others, that round it the least."""
        best_scale, best_zero, best = scale, zero, self._missed(w, scale, zero)
        top, low, high = 2**self.bits - 1, np.minimum(w.min(1), 0), np.maximum(w.max(1), 0)
        for span in _SPANS:
            for each in self._asymmetric(low, high, span, top) if self.zero else self._symmetric(w, span):
                tried, middle = each[0].astype(kind).astype(np.float64), each[1]
                tried = np.where((tried == 0) | ~np.isfinite(tried), scale, tried)
                missed = self._missed(w, tried, middle)
                better = missed < best
                best_scale, best_zero = np.where(better, tried, best_scale), np.where(better, middle, best_zero)
                best = np.minimum(missed, best)
        return best_scale, best_zero

    def _asymmetric(self, low: Array, high: Array, span: float, top: int) -> list[tuple[Array, Array]]:
        scale = span * (high - low) / top
        return [(scale, np.clip(np.rint(-span * low / np.where(scale == 0, 1, scale)), 0, top))]

    def _symmetric(self, w: Array, span: float) -> list[tuple[Array, Array]]:
        """The integer that is one further from zero stands at either end."""
        half = 2 ** (self.bits - 1)
        widest, middle = span * np.abs(w).max(1), np.full(len(w), float(half))
        return [(widest / half, middle), (-widest / half, middle), (widest / (half - 1), middle)]

    def _nearest(self, w: Array, scale: Array, zero: Array) -> Array:
        safe = np.where(scale == 0, 1, scale)[:, None]
        return np.clip(np.rint(w / safe + zero[:, None]), 0, 2**self.bits - 1).astype(np.int64)

    def _missed(self, w: Array, scale: Array, zero: Array) -> Array:
        rounded = (self._nearest(w, scale, zero) - zero[:, None]) * scale[:, None]
        return np.asarray(np.square(w - rounded).sum(1))


def blocks_of(graph: Graph, node: Node) -> Blocks | None:
    """The weight of a ``MatMulNBits``, ``None`` if it is none that is stored, or in an order of its own."""
    bits, size = int(node.attr("bits", 4)), int(node.attr("block_size", 0))
    names = [n for n in (node.inputs[1], node.inputs[2], node.input(3)) if n]
    plain = not node.input(4) and not node.attr("weight_prepacked", 0) and bits in _BITS and size > 0
    if not plain or any(n not in graph.parameters for n in names) or len(graph.shape(names[0])) != 3:
        return None
    if graph.array(names[0]).dtype != np.uint8 or graph.shape(names[0])[2] * 8 != size * bits:
        return None
    return Blocks(names[0], (), names[1], node.input(3), bits=bits, size=size, inputs=int(node.attr("K")))


def _passing(h: Array, width: int) -> Array:
    """Upper triangular (width, width): how the error of an input is passed on to those after it."""
    matrix = np.eye(width)
    matrix[: len(h), : len(h)] = h
    level = max(float(np.trace(h)) / len(h), 1e-12)
    matrix[np.diag_indices(width)] += _DAMPING * level
    return np.asarray(np.linalg.cholesky(np.linalg.inv(matrix)).T)


def _packed(rows: Array, bits: int) -> Array:
    """Integers of ``bits`` bits in as few bytes, the lowest first: (n, k) to (n, bytes)."""
    each = 8 // bits
    filled = np.pad(rows, ((0, 0), (0, -rows.shape[1] % each))).reshape(len(rows), -1, each)
    shifted = filled.astype(np.int64) << (bits * np.arange(each))
    return np.asarray(shifted.sum(2).astype(np.uint8))
