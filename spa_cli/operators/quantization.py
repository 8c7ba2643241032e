"""Quantised tensors in QDQ form, and the operators that compute on integers.

``zero`` on the axis of a quantised tensor means that the number it *stands for* is zero. An activation keeps that
through every operator; a stored integer 0 stands for zero only where its zero point is 0, or goes with the channel.
"""

from __future__ import annotations

from spa_cli.channels.state import CONSUMER, PASS_THROUGH, PRODUCER, Axis, Channels, Decline
from spa_cli.graph.model import Node
from spa_cli.operators.convolution import contract_groups, freeze_kernel, rewrite_group, space_axes
from spa_cli.operators.elementwise import align
from spa_cli.operators.matmul import add_bias, product
from spa_cli.operators.movement import joined
from spa_cli.operators.registry import MICROSOFT, register


@register("QuantizeLinear DequantizeLinear")
@register("QuantizeLinear DequantizeLinear", domain=MICROSOFT)
def quantize(node: Node, state: Channels) -> None:
    """One scale for all passes; one per channel is coupled with the axis it belongs to."""
    if node.attr("block_size", 0):
        raise Decline("block-wise quantisation is not followed")
    x = list(state.of(node.inputs[0]))
    at = int(node.attr("axis", 1)) % max(len(x), 1)
    per_channel = settings(node, state, x[at] if x else None, (1, 2))
    faithful = state.values_zero(node.input(2)) or node.inputs[0] not in state.sources
    result = [a.with_zero(a.zero and faithful) for a in x]
    if per_channel:
        if result[at].static:
            result[at] = state.of(node.inputs[1])[0]
        if node.op == "QuantizeLinear":
            state.inexact(result[at], "its quantisation scale would become zero")
        result[at] = result[at].with_zero(result[at].zero or node.op == "DequantizeLinear")
    state.set(node.outputs[0], result)


def settings(node: Node, state: Channels, axis: Axis | None, inputs: tuple[int, ...]) -> bool:
    """Couple per-channel scales and zero points with ``axis``; whether there are any."""
    found = False
    for index in inputs:
        name = node.input(index)
        if not name:
            continue
        own = state.of(name)
        if len(own) == 1 and own[0].size != 1:
            if axis is None:
                raise Decline(f"{node.op} has one scale per channel where one for all is expected")
            state.unify(axis, own[0])
            state.role(name, 0, PASS_THROUGH)
            found = True
        elif any(a.size != 1 for a in own):
            raise Decline("block-wise quantisation is not followed")
    return found


def _faithful(node: Node, state: Channels, tensor: int, zero_point: int, per_channel: bool) -> bool:
    """Whether a zeroed weight stands for zero."""
    return per_channel or node.inputs[tensor] not in state.sources or state.values_zero(node.input(zero_point))


@register("DynamicQuantizeLinear")
def dynamic_quantize(node: Node, state: Channels) -> None:
    """The range always includes zero, so a zero channel changes neither scale nor zero point."""
    state.set(node.outputs[0], state.of(node.inputs[0]))
    for name in node.outputs[1:]:
        state.set(name, [])


# positions of (A, A's settings, B, B's settings, zero point of B, bias, settings of the result)
_LAYOUTS: dict[str, tuple[int, tuple[int, ...], int, tuple[int, ...], int, int, tuple[int, ...]]] = {
    "MatMulInteger": (0, (2,), 1, (3,), 3, -1, ()),
    "QLinearMatMul": (0, (1, 2), 3, (4, 5), 5, -1, (6, 7)),
    "QGemm": (0, (1, 2), 3, (4, 5), 5, 6, (7, 8)),
    "DynamicQuantizeMatMul": (0, (), 1, (2, 3), 3, 4, ()),
    "MatMulIntegerToFloat": (0, (2, 4), 1, (3, 5), 5, 6, ()),
    "QLinearConv": (0, (1, 2), 3, (4, 5), 5, 8, (6, 7)),
    "ConvInteger": (0, (2,), 1, (3,), 3, -1, ()),
    "MatMulInteger16": (0, (), 1, (), 9, -1, ()),
}


@register("MatMulInteger QLinearMatMul")
@register("QGemm DynamicQuantizeMatMul MatMulIntegerToFloat MatMulInteger16", domain=MICROSOFT)
def integer_matmul(node: Node, state: Channels) -> None:
    """A matrix product on integers: scales and zero points of B per column are coupled with it."""
    a_at, a_settings, b_at, b_settings, b_zero, bias, rest = _LAYOUTS[node.op]
    a, b = list(state.of(node.inputs[a_at])), list(state.of(node.inputs[b_at]))
    if len(b) < 2 or not a:
        raise Decline(f"{node.op} with vectors is not followed")
    settings(node, state, None, a_settings + rest)
    m, k = (1, 0) if node.attr("transA", 0) else (len(a) - 2, len(a) - 1)
    k2, n = (1, 0) if node.attr("transB", 0) else (len(b) - 2, len(b) - 1)
    per_column = settings(node, state, b[n], b_settings)
    faithful = _faithful(node, state, b_at, b_zero, per_column)
    # with a zero point a zeroed row of B still counts: only A decides about the contraction
    b_rows = b[k2].with_zero(b[k2].zero and _faithful(node, state, b_at, b_zero, False))
    left = [(axis, i) for i, axis in enumerate(a[:-2])] + [(a[m], m), (a[k], k)]
    right = [(axis, i) for i, axis in enumerate(b[:-2])] + [(b_rows, k2), (b[n].with_zero(b[n].zero and faithful), n)]
    out = product(node, state, left, right, (node.inputs[a_at], node.inputs[b_at]))
    if bias >= 0 and node.input(bias):
        out = add_bias(node, state, out, node.inputs[bias])
    state.set(node.outputs[0], out)


@register("QLinearConv ConvInteger", rewrite=lambda node, cut: rewrite_group(node, cut, _LAYOUTS[node.op][2]))
@register("QLinearConv", domain=MICROSOFT, rewrite=lambda node, cut: rewrite_group(node, cut, 3))
def integer_conv(node: Node, state: Channels) -> None:
    """A convolution on integers: scales and zero points of W per output channel are coupled with it."""
    x_at, x_settings, w_at, w_settings, w_zero, bias, rest = _LAYOUTS[node.op]
    if node.attr("channels_last", 0):
        raise Decline("QLinearConv in channels-last form is not followed")
    x, w = state.of(node.inputs[x_at]), state.of(node.inputs[w_at])
    groups = int(node.attr("group", 1))
    freeze_kernel(node, state, w)
    settings(node, state, None, x_settings + rest)
    per_channel = settings(node, state, w[0], w_settings)
    w_columns = w[1].with_zero(w[1].zero and _faithful(node, state, w_at, w_zero, False))
    contract_groups(state, x[1], w[0], w_columns, groups)
    state.role(node.inputs[w_at], 0, PRODUCER)
    state.role(node.inputs[w_at], 1, CONSUMER)
    out = w[0].with_zero(w[0].zero and _faithful(node, state, w_at, w_zero, per_channel))
    if bias >= 0 and node.input(bias):
        out = add_bias(node, state, [out], node.inputs[bias])[0]
    state.set(node.outputs[0], [x[0].with_zero(False), out, *space_axes(node, state, x, w)])


@register("QLinearAdd QLinearMul", domain=MICROSOFT)
def integer_binary(node: Node, state: Channels) -> None:
    """``A, its scale, its zero point, B, its scale, its zero point, the result's``."""
    settings(node, state, None, (1, 2, 4, 5, 6, 7))
    names = [node.inputs[0], node.inputs[3]]
    axes = align(node, state, names)
    every = all if node.op == "QLinearAdd" else any
    operands = [state.of(n) for n in names]
    result = []
    for back, axis in zip(range(-len(axes), 0), axes, strict=True):
        zeros = [len(o) >= -back and o[back].size == axis.size and o[back].zero for o in operands]
        result.append(axis.with_zero(every(zeros)))
    state.set(node.outputs[0], result)


@register(
    "QLinearLeakyRelu QLinearSigmoid QLinearGlobalAveragePool QLinearAveragePool QLinearSoftmax", domain=MICROSOFT
)
def integer_unary(node: Node, state: Channels) -> None:
    """One input with its scale and zero point."""
    if node.attr("channels_last", 0):
        raise Decline(f"{node.op} in channels-last form is not followed")
    settings(node, state, None, tuple(range(1, len(node.inputs))))
    x = list(state.of(node.inputs[0]))
    if node.op == "QLinearSoftmax":
        at = int(node.attr("axis", -1)) % len(x)
        state.freeze(x[at], "QLinearSoftmax runs over it")
    if node.op.endswith("Pool"):
        sizes = state.shape(node.outputs[0])
        for axis in x[2:]:
            state.freeze(axis, "a window slides over it")
        x[2:] = [state.static(s, "a window slides over it") for s in sizes[2:]]
    silent = node.op not in ("QLinearSigmoid", "QLinearSoftmax")
    state.set(node.outputs[0], [a.with_zero(a.zero and silent) for a in x])


@register("QLinearConcat", domain=MICROSOFT)
def integer_concat(node: Node, state: Channels) -> None:
    """``scale, zero point of the result``, then triples."""
    settings(node, state, None, tuple(i for i in range(len(node.inputs)) if i % 3 != 2))
    joined(node, state, [n for i, n in enumerate(node.inputs) if i % 3 == 2 and i > 1])
