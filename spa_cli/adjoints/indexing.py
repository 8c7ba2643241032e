"""Numbers taken by index: the adjoint adds them up where they were taken."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from spa_cli.adjoints.emitter import NoAdjoint, Value
from spa_cli.adjoints.movement import gather_back, scatter_back
from spa_cli.adjoints.table import Call, Gradient, adjoint_of, need_opset


@adjoint_of("Gather", inputs=(0,))
def gather(c: Call) -> Value:
    """Rows by index."""
    e, axis, rank = c.emit, c.axis(), c.rank()
    wide = c.rank(1)
    g, places = c.g, c.x(1)
    if wide == 0:
        g = e.unsqueeze(g, [axis])
    elif wide > 1:
        dims = e.shape(g)
        before = e.slice(dims, [0], [axis], [0])
        after = e.slice(dims, [axis + wide], [rank + wide - 1], [0])
        g = e.reshape(g, e.concat([before, e.ints([-1]), after], 0))
    known, size = c.sizes.value(c.node.inputs[1]), c.fixed()[axis]
    if known is not None and size is not None and (size <= 4096 or known.size <= 1):
        return gather_back(g, axis, rank, known, size)
    flat = e.cast(e.reshape(places, [-1]), 7)
    return scatter_back(g, axis, rank, flat, e.size(c.x(), axis), add=True)


@adjoint_of("GatherElements", inputs=(0,))
def gather_elements(c: Call) -> Value:
    """Single numbers by index along an axis."""
    axis, e = c.axis(), c.emit
    if e.opset < 16:
        return _by_one_hot(c, axis)
    return c.emit.op("ScatterElements", c.emit.zeros_like(c.x()), c.x(1), c.g, axis=axis, reduction="add")


def _by_one_hot(c: Call, axis: int) -> Value:
    """Before ScatterElements adds: a row of zeros and a one for every index, along an axis behind it."""
    need_opset(c, 11, "a OneHot of negative indices")
    e = c.emit
    if any(a != b or a is None for i, (a, b) in enumerate(zip(c.fixed(), c.fixed(1), strict=True)) if i != axis):
        raise NoAdjoint("needs opset 16, which has a ScatterElements that adds")
    size = e.reshape(e.size(c.x(), axis), e.constant(np.zeros(0), 7))
    hot = e.cast(e.op("OneHot", c.x(1), size, e.constant([0, 1], 1), dtype=1, axis=axis + 1), c.g.dtype)
    return e.reduce(e.unsqueeze(c.g, [axis + 1]) * hot, [axis], keepdims=False)


@adjoint_of("GatherND", inputs=(0,))
def gather_nd(c: Call) -> Value:
    """Slices by tuples of indices."""
    need_opset(c, 16, "a ScatterND that adds")
    if c.node.attr("batch_dims", 0):
        raise NoAdjoint("its batch_dims are not known to its adjoint")
    return c.emit.op("ScatterND", c.emit.zeros_like(c.x()), c.x(1), c.g, reduction="add")


@adjoint_of("ScatterND", inputs=(0, 2))
def scatter_nd(c: Call) -> Mapping[int, Gradient]:
    """What was written is read back; what it replaced has no part in the result."""
    adds = _mode(c) == "add"

    def replaced() -> Value:
        if adds:
            return c.g
        return c.emit.op("ScatterND", c.g, c.x(1), c.emit.zeros_like(c.x(2)))

    return {0: replaced, 2: lambda: c.emit.op("GatherND", c.g, c.x(1))}


@adjoint_of("ScatterElements Scatter", inputs=(0, 2))
def scatter_elements(c: Call) -> Mapping[int, Gradient]:
    """What was written is read back; what it replaced has no part in the result."""
    adds, axis = _mode(c) == "add", int(c.node.attr("axis", 0))
    need_opset(c, 11, "GatherElements")

    def replaced() -> Value:
        if adds:
            return c.g
        return c.emit.op("ScatterElements", c.g, c.x(1), c.emit.zeros_like(c.x(2)), axis=axis)

    return {0: replaced, 2: lambda: c.emit.op("GatherElements", c.g, c.x(1), axis=axis)}


def _mode(c: Call) -> str:
    mode = str(c.node.attr("reduction", "none"))
    if mode not in ("none", "add"):
        raise NoAdjoint(f"its reduction '{mode}' is not known to its adjoint")
    return mode
