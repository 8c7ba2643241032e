"""Normalisations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from spa_cli.adjoints.emitter import NoAdjoint, Value
from spa_cli.adjoints.table import Call, Gradient, adjoint_of


@adjoint_of("BatchNormalization")
def batch_norm(c: Call) -> Mapping[int, Gradient]:
    """With fixed statistics: a factor per channel."""
    if c.node.attr("training_mode", 0) or len([o for o in c.node.outputs if o]) > 1:
        raise NoAdjoint("it measures its statistics (training_mode)")
    rank, e = c.rank(), c.emit
    behind = list(range(1, rank - 1))
    scale, mean, variance = (c.x(i) for i in (1, 3, 4))
    root = e.op("Sqrt", variance + float(c.node.attr("epsilon", 1e-5)))
    others = [i for i in range(rank) if i != 1]

    def scaled() -> Value:
        centred = (c.x() - e.unsqueeze(mean, behind)) / e.unsqueeze(root, behind)
        return e.reduce(c.g * centred, others, keepdims=False)

    return {
        0: lambda: c.g * e.unsqueeze(e.cast(scale / root, c.g.dtype), behind),
        1: scaled,
        2: lambda: e.reduce(c.g, others, keepdims=False),
        3: lambda: -e.reduce(c.g, others, keepdims=False) * scale / root,
        4: lambda: scaled() * scale * -0.5 / (root * root),
    }


def _mean(value: Value, axes: Sequence[int]) -> Value:
    return value.emit.reduce(value, axes, keepdims=True, op="ReduceMean")


class Standard:
    """What is brought to mean zero (if ``centred``) and variance one over axes, and the adjoint of that."""

    def __init__(self, x: Value, axes: Sequence[int], epsilon: float, centred: bool = True) -> None:
        self._axes, self._centred = axes, centred
        off = x - _mean(x, axes) if centred else x
        self._factor = 1.0 / x.emit.op("Sqrt", _mean(off * off, axes) + epsilon)
        self.result = off * self._factor

    def adjoint(self, g: Value) -> Value:
        """The cotangent of what is normalised."""
        left = g - self.result * _mean(g * self.result, self._axes)
        if self._centred:
            left = left - _mean(g, self._axes)
        return left * self._factor


@adjoint_of("LayerNormalization RMSNormalization SimplifiedLayerNormalization")
def layer_norm(c: Call) -> Mapping[int, Gradient]:
    """Over the last axes."""
    axes = list(range(c.axis(-1), c.rank()))
    centred = c.node.op == "LayerNormalization"
    norm = Standard(c.x(), axes, float(c.node.attr("epsilon", 1e-5)), centred)
    return {
        0: lambda: norm.adjoint(c.g * c.x(1)),
        1: lambda: c.sum_to(c.g * norm.result, 1),
        2: lambda: c.sum_to(c.g, 2),
    }


@adjoint_of("InstanceNormalization")
def instance_norm(c: Call) -> Mapping[int, Gradient]:
    """Over each channel's image."""
    space = list(range(2, c.rank()))
    norm = Standard(c.x(), space, float(c.node.attr("epsilon", 1e-5)))
    others = [0, *space]
    return {
        0: lambda: norm.adjoint(c.g * c.emit.unsqueeze(c.x(1), [i - 1 for i in space])),
        1: lambda: c.emit.reduce(c.g * norm.result, others, keepdims=False),
        2: lambda: c.emit.reduce(c.g, others, keepdims=False),
    }


@adjoint_of("GroupNormalization")
def group_norm(c: Call) -> Mapping[int, Gradient]:
    """Over each group's channels; a scale per group until opset 21."""
    e, groups = c.emit, int(c.node.attr("num_groups"))
    whole = e.shape(c.x())
    apart = e.concat([e.slice(whole, [0], [1], [0]), e.ints([groups, -1])], 0)
    norm = Standard(e.reshape(c.x(), apart), [2], float(c.node.attr("epsilon", 1e-5)))
    if c.node.version >= 21:
        behind, others = list(range(1, c.rank() - 1)), [i for i in range(c.rank()) if i != 1]
        return {
            0: lambda: e.reshape(norm.adjoint(e.reshape(c.g * e.unsqueeze(c.x(1), behind), apart)), whole),
            1: lambda: e.reduce(c.g * e.reshape(norm.result, whole), others, keepdims=False),
            2: lambda: e.reduce(c.g, others, keepdims=False),
        }
    g = e.reshape(c.g, apart)
    return {
        0: lambda: e.reshape(norm.adjoint(g * e.unsqueeze(c.x(1), [1])), whole),
        1: lambda: e.reduce(g * norm.result, [0, 2], keepdims=False),
        2: lambda: e.reduce(g, [0, 2], keepdims=False),
    }


@adjoint_of("LpNormalization")
def lp_norm(c: Call) -> Value:
    """By its length."""
    axis, x, y, p = c.axis(-1), c.x(), c.y(), int(c.node.attr("p", 2))
    length = c.emit.reduce(x, [axis], keepdims=True, op=f"ReduceL{p}")
    slope = y if p == 2 else c.emit.sign(x)
    return (c.g - slope * c.emit.reduce(c.g * y, [axis], keepdims=True)) / length


@adjoint_of("MeanVarianceNormalization")
def mean_variance(c: Call) -> Value:
    """Over axes."""
    norm = Standard(c.x(), [int(a) for a in c.node.attr("axes", [0, 2, 3])], 1e-9)
    return norm.adjoint(c.g)


@adjoint_of("LRN")
def lrn(c: Call) -> Value:
    """By the squares of its neighbours among the channels."""
    n = int(c.node.attr("size"))
    alpha, beta = float(c.node.attr("alpha", 1e-4)), float(c.node.attr("beta", 0.75))
    bias, rank, e = float(c.node.attr("bias", 1.0)), c.rank(), c.emit
    before, after = (n - 1) // 2, n - 1 - (n - 1) // 2
    size = c.sizes.here(c.node.inputs[0], 1)

    def neighbours(value: Value, first: int, last: int) -> Value:
        pads = [0] * 2 * rank
        pads[1], pads[rank + 1] = first, last
        wide = e.pad(value, pads)
        return e.total([e.slice(wide, [i], [i + size], [1]) for i in range(n)])

    x = c.x()
    base = neighbours(x * x, before, after) * (alpha / n) + bias
    inner = c.g * x * e.op("Pow", base, -beta - 1)
    return c.g * e.op("Pow", base, -beta) - x * neighbours(inner, after, before) * (2 * alpha * beta / n)
