"""The windows of a convolution: im2col patches of any rank, stride, dilation and padding."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from spa_cli.graph.model import Array, Node


def output_size(node: Node, size: tuple[int, ...], kernel: tuple[int, ...]) -> tuple[int, ...]:
    """Spatial size of a convolution's output."""
    strides, dilations, pads = geometry(node, size, kernel)
    return tuple(
        (n + sum(p) - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(size, pads, dilations, kernel, strides, strict=True)
    )


def patches(node: Node, x: Array, kernel: tuple[int, ...], rows: Array | None) -> Array:
    """Windows of ``x`` (n, c, *size) at flat output positions ``rows`` (``None``: all); (n, positions, c, *k)."""
    rank = len(kernel)
    if rows is not None:
        return _gathered(node, x, kernel, rows)
    strides, dilations, pads = geometry(node, x.shape[2:], kernel)
    padded = np.pad(x, [(0, 0), (0, 0), *pads]) if any(map(any, pads)) else x
    spans = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(padded, spans, axis=tuple(range(2, 2 + rank)))
    picks: Any = tuple(slice(None, None, s) for s in (1, 1, *strides, *dilations))
    view = view[picks]
    return np.moveaxis(view.reshape(*view.shape[:2], -1, *kernel), 2, 1)


def _gathered(node: Node, x: Array, kernel: tuple[int, ...], rows: Array) -> Array:
    """The windows at some positions only: nothing is padded, and no other window is made."""
    size = x.shape[2:]
    strides, dilations, pads = geometry(node, size, kernel)
    index, inside = np.zeros((len(rows), *[1] * len(kernel)), np.int64), np.ones(1, bool)
    for axis, at in enumerate(np.unravel_index(rows, output_size(node, size, kernel))):
        steps = dilations[axis] * np.arange(kernel[axis]) - pads[axis][0]
        shape = (len(at), *(-1 if i == axis else 1 for i in range(len(kernel))))
        along = (at[:, None] * strides[axis] + steps).reshape(shape)
        index = index * size[axis] + along
        inside = inside & (along >= 0) & (along < size[axis])
    taken = np.take(x.reshape(*x.shape[:2], -1), np.where(inside, index, 0), axis=2)
    if not inside.all():
        np.copyto(taken, 0, where=~inside)
    return np.moveaxis(taken, 2, 1)


def geometry(
    node: Node, size: tuple[int, ...], kernel: tuple[int, ...]
) -> tuple[list[int], list[int], list[tuple[int, int]]]:
    """Strides, dilations and paddings (begin, end) per spatial axis, for an input of that ``size``."""
    rank = len(kernel)
    strides = node.attr("strides") or [1] * rank
    dilations = node.attr("dilations") or [1] * rank
    auto = node.attr("auto_pad", "NOTSET")
    if auto == "VALID":
        return strides, dilations, [(0, 0)] * rank
    if auto in ("NOTSET", ""):
        pads = node.attr("pads") or [0] * (2 * rank)
        return strides, dilations, [(pads[i], pads[i + rank]) for i in range(rank)]
    result = []
    for n, k, s, d in zip(size, kernel, strides, dilations, strict=True):
        total = max((math.ceil(n / s) - 1) * s + d * (k - 1) + 1 - n, 0)
        small = total // 2
        result.append((small, total - small) if auto == "SAME_UPPER" else (total - small, small))
    return strides, dilations, result
