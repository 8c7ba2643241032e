"""Pooling."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from spa_cli.adjoints.emitter import NoAdjoint, Value
from spa_cli.adjoints.table import Call, adjoint_of
from spa_cli.adjoints.windows import Window, spread, window

# below whatever an image holds, and times zero still zero
_LOWEST = -1e30


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
    outs = c.sizes.fixed(c.node.outputs[0])[2:]
    return _together(c, spread(_apart(c, g), ones, w, 1, c.x(), c.fixed()[2:], outs))


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
    if c.g.dtype not in (1, 11):
        raise NoAdjoint("needs opset 16 in half precision")
    w = window(c, c.node.attr("kernel_shape"))
    if c.node.attr("ceil_mode", 0):
        w = _up(c, w)
    # axis by axis: a window of k x k has k places twice, not k * k
    sizes, outs = c.fixed()[2:], c.sizes.fixed(c.node.outputs[0])[2:]
    images, stages = [_apart(c, c.emit.cast(c.x(), c.g.dtype))], [_along(w, i) for i in range(len(sizes))]
    for stage in stages[:-1]:
        wide = _bordered(images[-1], stage)
        images.append(c.emit.op("MaxPool", wide, **_attributes(c, stage)))
    g = _apart(c, c.g)
    for i in reversed(range(len(sizes))):
        before, after = [*outs[:i], *sizes[i:]], [*outs[: i + 1], *sizes[i + 1 :]]
        g = _first(g, images[i], stages[i], before, after)
    return _together(c, g)


def _along(w: Window, axis: int) -> Window:
    """The part of a window that lies along one axis."""
    parts = ((w.kernel, 1), (w.strides, 1), (w.dilations, 1), (w.begin, 0), (w.end, 0))
    return Window(*([v if i == axis else plain for i, v in enumerate(values)] for values, plain in parts))


def _attributes(c: Call, w: Window) -> dict[str, Any]:
    """A window as attributes; dilations are known since opset 10."""
    plain = {"kernel_shape": w.kernel, "strides": w.strides}
    return {**plain, "dilations": w.dilations} if c.emit.opset >= 10 else plain


def _bordered(image: Value, w: Window) -> Value:
    """An image with a border that is never the largest."""
    pads, e = [0, 0, *w.begin, 0, 0, *w.end], image.emit
    if not any(pads):
        return image
    if e.opset >= 11:
        return e.op("Pad", image, e.ints(pads), e.constant(_LOWEST, image.dtype))
    return e.op("Pad", image, pads=pads, value=_LOWEST)


def _first(g: Value, image: Value, w: Window, sizes: list[int | None], outs: list[int | None]) -> Value:
    """To the first of the largest places: they are made channels by a convolution with one-hot weights."""
    e, count = g.emit, math.prod(w.kernel)
    each = e.constant(np.eye(count).reshape(count, 1, *w.kernel), g.dtype)
    wide = _bordered(image, w)
    seen = e.op("Conv", wide, each, strides=w.strides, dilations=w.dilations, kernel_shape=w.kernel)
    first = e.op("ArgMax", seen, dtype=7, axis=1, keepdims=1)
    ids = e.constant(np.arange(count).reshape(1, count, *[1] * len(w.kernel)), 7)
    return spread(g.where(e.equal(first, ids)), each, w, 1, image, sizes, outs)


def _up(c: Call, w: Window) -> Window:
    """The window with as much room behind as rounding up takes."""
    end = []
    for i, axis in enumerate(_space(c)):
        size, out = c.sizes.here(c.node.inputs[0], axis), c.sizes.here(c.node.outputs[0], axis)
        end.append(max((out - 1) * w.strides[i] + w.reach[i] - w.begin[i] - size, 0))
    return Window(w.kernel, w.strides, w.dilations, w.begin, end)
