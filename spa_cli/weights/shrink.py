"""Taking elements out of a tensor so that what is left is a tensor again."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from spa_cli.graph.model import Array


def shrunk(array: Array, gone: Array, first: Iterable[int] = ()) -> Array | None:
    """``array`` without the elements that are ``gone``: whole indices of its axes.

    Where the slices of one axis keep different indices of the others, but equally many (groups of a convolution,
    heads), they are stacked; ``first`` are the axes to look at first. ``None`` if what stays is not a tensor.
    """
    kept = ~gone
    shape = _grid(kept)
    if shape is not None:
        return array[kept].reshape(shape)
    for axis in dict.fromkeys((*first, *range(array.ndim))):
        turned, values = np.moveaxis(kept, axis, 0), np.moveaxis(array, axis, 0)
        some = turned.reshape(len(turned), -1).any(1)
        shape = _stacked(turned[some])
        if shape is not None:
            return np.ascontiguousarray(np.moveaxis(values[turned].reshape(shape), 0, axis))
    return None


def _grid(kept: Array) -> tuple[int, ...] | None:
    """The sizes of what is kept, if it is all combinations of some indices of every axis."""
    axes = range(kept.ndim)
    shape = tuple(int(kept.any(tuple(b for b in axes if b != a)).sum()) for a in axes)
    return shape if math.prod(shape) == kept.sum() else None


def _stacked(kept: Array) -> tuple[int, ...] | None:
    """The same, if every slice of the first axis keeps combinations of its own, of the same sizes."""
    axes = range(1, kept.ndim)
    shape = [len(kept)]
    for a in axes:
        counts = kept.any(tuple(b for b in axes if b != a)).sum(1)
        if len(set(counts.tolist())) != 1:
            return None
        shape.append(int(counts[0]))
    full = kept.reshape(len(kept), -1).sum(1) == math.prod(shape[1:])
    return tuple(shape) if full.all() else None
