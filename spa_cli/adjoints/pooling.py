"""Pooling."""

from __future__ import annotations

import math

import numpy as np

from spa_cli.adjoints.emitter import NoAdjoint, Value
from spa_cli.adjoints.table import Call, adjoint_of
from spa_cli.adjoints.windows import Window, spread, window


def _space(c: Call) -> list[int]:
    return list(range(2, c.rank()))


@adjoint_of("GlobalAveragePool")
def global_average(c: Call) -> Value:
    """An equal share to every place."""
    count = c.emit.cast(c.emit.op("Div", _count(c.x()), _count(c.y())), c.g.dtype)
    return c.emit.expand(c.g / count, c.emit.shape(c.x()))


def _count(value: Value) -> Value:
    return value.emit.op("Size", value, dtype=7)


@adjoint_of("GlobalMaxPool")
def global_max(c: Call) -> Value:
    """To the largest."""
    mask = c.emit.cast(c.emit.equal(c.x(), c.y()), c.g.dtype)
    return mask * (c.g / c.emit.reduce(mask, _space(c), keepdims=True))


def _apart(c: Call, value: Value) -> Value:
    """Every channel as an image of its own."""
    dims = c.emit.slice(c.emit.shape(value), [2], [c.rank()], [0])
    return c.emit.reshape(value, c.emit.concat([c.emit.ints([-1, 1]), dims], 0))


def _together(c: Call, value: Value) -> Value:
    return c.emit.reshape(value, c.emit.shape(c.x()))


@adjoint_of("AveragePool")
def average(c: Call) -> Value:
    """An equal share to every place of the window."""
    w = window(c, c.node.attr("kernel_shape"))
    ones = c.emit.constant(np.ones((1, 1, *w.kernel)), c.g.dtype)
    padded = any(w.begin) or any(w.end) or c.node.attr("ceil_mode", 0)
    # windows at the border may count fewer places
    g = c.g / _counts(c, w) if padded else c.g * (1 / math.prod(w.kernel))
    return _together(c, spread(c, _apart(c, g), ones, w, 1))


def _counts(c: Call, w: Window) -> Value:
    """Over how many places each window averages."""
    sizes = [c.sizes.here(c.node.inputs[0], i) for i in _space(c)]
    outs = [c.sizes.here(c.node.outputs[0], i) for i in _space(c)]
    counts = np.ones((), np.float64)
    for i, (size, out) in enumerate(zip(sizes, outs, strict=True)):
        inner = np.zeros(w.begin[i] + size + w.end[i] + w.reach[i] + w.strides[i])
        if c.node.attr("count_include_pad", 0):
            inner[: w.begin[i] + size + w.end[i]] = 1
        else:
            inner[w.begin[i] : w.begin[i] + size] = 1
        starts = np.arange(out)[:, None] * w.strides[i] + np.arange(w.kernel[i]) * w.dilations[i]
        counts = np.multiply.outer(counts, inner[starts].sum(1))
    return c.emit.constant(counts[None, None], c.g.dtype)


@adjoint_of("MaxPool")
def maximum(c: Call) -> Value:
    """To the place of the largest number in the window, the first of several."""
    if c.emit.opset >= 16:
        places = Value(c.emit, c.y(1).name, 7)
        flat = c.emit.zeros(c.emit.reshape(_count(c.x()), [1]), c.g.dtype)
        found = c.emit.op(
            "ScatterElements", flat, c.emit.reshape(places, [-1]), c.emit.reshape(c.g, [-1]), axis=0, reduction="add"
        )
        return _together(c, found)
    w = window(c, c.node.attr("kernel_shape"))
    if c.node.attr("ceil_mode", 0):
        w = _up(c, w)
    count = math.prod(w.kernel)
    # a window's places as channels: convolve with one-hot weights
    each = c.emit.constant(np.eye(count).reshape(count, 1, *w.kernel), c.g.dtype)
    if c.g.dtype not in (1, 11):
        raise NoAdjoint("needs opset 16 in half precision")
    n, lowest = len(w.kernel), -1e30
    image = _apart(c, c.x())
    pads = [0, 0, *w.begin, 0, 0, *w.end]
    if any(pads) and c.emit.opset >= 11:
        image = c.emit.op("Pad", image, c.emit.ints(pads), c.emit.constant(lowest, c.g.dtype))
    elif any(pads):
        image = c.emit.op("Pad", image, pads=pads, value=lowest)
    seen = c.emit.op("Conv", image, each, strides=w.strides, dilations=w.dilations, kernel_shape=w.kernel)
    first = c.emit.op("ArgMax", seen, dtype=7, axis=1, keepdims=1)
    ids = c.emit.constant(np.arange(count).reshape(1, count, *[1] * n), 7)
    chosen = c.emit.cast(c.emit.equal(first, ids), c.g.dtype)
    return _together(c, spread(c, _apart(c, c.g) * chosen, each, w, 1))


def _up(c: Call, w: Window) -> Window:
    """The window with as much room behind as rounding up takes."""
    end = []
    for i, axis in enumerate(_space(c)):
        size, out = c.sizes.here(c.node.inputs[0], axis), c.sizes.here(c.node.outputs[0], axis)
        end.append(max((out - 1) * w.strides[i] + w.reach[i] - w.begin[i] - size, 0))
    return Window(w.kernel, w.strides, w.dilations, w.begin, end)
