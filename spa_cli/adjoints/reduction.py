"""Reductions, and functions of whole rows: softmax, cumulated sums, triangles."""

from __future__ import annotations

from collections.abc import Callable

from spa_cli.adjoints.emitter import Value
from spa_cli.adjoints.table import Call, adjoint_of, need_opset, without


def _axes(c: Call) -> list[int]:
    rank, axes = c.rank(), c.node.attr("axes")
    if c.has(1):
        axes = c.known(1, "axes").reshape(-1).tolist()
    if not axes:
        return [] if c.node.attr("noop_with_empty_axes", 0) else list(range(rank))
    return sorted(int(a) % rank for a in axes)


def _tiny(c: Call) -> float:
    return 1e-7 if c.g.dtype == 10 else 1e-30


Share = Callable[[Call, Value, Value, list[int]], Value]


def _most(c: Call, x: Value, y: Value, axes: list[int]) -> Value:
    mask = c.emit.cast(c.emit.equal(x, y), x.dtype)
    return mask / c.emit.reduce(mask, axes, keepdims=True)


# of each element of the input: its share in the result
SHARES: dict[str, Share] = {
    "ReduceL1": lambda c, x, y, a: c.emit.sign(x),
    "ReduceL2": lambda c, x, y, a: x / c.emit.op("Max", y, _tiny(c)),
    "ReduceLogSum": lambda c, x, y, a: 1.0 / c.emit.op("Exp", y) + x * 0.0,
    "ReduceLogSumExp": lambda c, x, y, a: c.emit.op("Exp", x - y),
    "ReduceMax": _most,
    "ReduceMin": _most,
    "ReduceProd": lambda c, x, y, a: y / x,
    "ReduceSumSquare": lambda c, x, y, a: x * 2.0,
}


@adjoint_of(" ".join(SHARES), inputs=(0,))
def share(c: Call) -> Value:
    """To each element by its share."""
    axes = _axes(c)
    g, y = _kept(c, c.g, axes), _kept(c, c.y(), axes)
    return g * SHARES[c.node.op](c, c.x(), y, axes)


def _kept(c: Call, value: Value, axes: list[int]) -> Value:
    """A result with the axes that were reduced."""
    return value if c.node.attr("keepdims", 1) else c.emit.unsqueeze(value, axes)


@adjoint_of("ReduceSum ReduceMean", inputs=(0,))
def total(c: Call) -> Value:
    """To every element the same."""
    g = c.g
    if c.node.op == "ReduceMean":
        sizes = c.emit.op("Div", *(c.emit.op("Size", v, dtype=7) for v in (c.x(), c.y())))
        g = g / c.emit.cast(sizes, g.dtype)
    return c.emit.expand(_kept(c, g, _axes(c)), c.emit.shape(c.x()))


def _rows(c: Call) -> list[int]:
    """Axes of one softmax: until opset 13 all from ``axis`` on."""
    if c.emit.opset >= 13:
        return [c.axis(-1)]
    return list(range(c.axis(1), c.rank()))


@adjoint_of("Softmax")
def softmax(c: Call) -> Value:
    """Its mean under the probabilities is taken off."""
    y, rows = c.y(), _rows(c)
    product = c.g * y
    return product - y * c.emit.reduce(product, rows, keepdims=True)


@adjoint_of("LogSoftmax")
def log_softmax(c: Call) -> Value:
    """The sum goes off by the probabilities."""
    return c.g - c.emit.op("Exp", c.y()) * c.emit.reduce(c.g, _rows(c), keepdims=True)


@adjoint_of("CumSum", inputs=(0,))
def cumsum(c: Call) -> Value:
    """From the other end."""
    need_opset(c, 11, "CumSum")
    back = 1 - int(c.node.attr("reverse", 0))
    return c.emit.op("CumSum", c.g, c.x(1), reverse=back, exclusive=int(c.node.attr("exclusive", 0)))


@adjoint_of("Trilu", inputs=(0,))
def trilu(c: Call) -> Value:
    """The same triangle."""
    more = [c.x(1)] if c.has(1) else []
    return c.emit.op("Trilu", c.g, *more, upper=int(c.node.attr("upper", 1)))


@adjoint_of("TopK", inputs=(0,))
def topk(c: Call) -> Value:
    """To where they were found."""
    need_opset(c, 11, "ScatterElements")
    places, axis = Value(c.emit, c.y(1).name, 7), int(c.node.attr("axis", -1))
    return c.emit.op("ScatterElements", c.emit.zeros_like(c.x()), places, c.g, axis=axis)


without("Hardmax", "it is a step")
