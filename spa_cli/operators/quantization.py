"""Quantised tensors in QDQ form, and the operators that compute on integers.

``zero`` on the axis of a quantised tensor means that the number it *stands for* is zero. An activation keeps that
through every operator; a stored integer 0 stands for zero only where its zero point is 0, or goes with the channel.
"""

from __future__ import annotations

from spa_cli.channels.state import PASS_THROUGH, Axis, Channels, Decline
from spa_cli.graph.model import Node
from spa_cli.operators.contracts import Contracts, Scales
from spa_cli.operators.convolution import contract_groups, convolution, freeze_kernel, rewrite_group, space_axes
from spa_cli.operators.elementwise import align
from spa_cli.operators.joining import joined
from spa_cli.operators.labelled import add_bias, contracted, set_roles
from spa_cli.operators.matmul import gemm, matmul
from spa_cli.operators.registry import BOTH, MICROSOFT, contracts_of, register

_QLINEAR_CONV = Contracts(convolution, (0, 3), bias=8, scales=Scales((1, 2), (4, 5), (6, 7)), fitted=(1,), windows=True)


@register("QuantizeLinear", domain=BOTH)
@register("DequantizeLinear", domain=BOTH, integers=(0,))
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


@register("DynamicQuantizeLinear")
def dynamic_quantize(node: Node, state: Channels) -> None:
    """The range always includes zero, so a zero channel changes neither scale nor zero point."""
    state.set(node.outputs[0], state.of(node.inputs[0]))
    for name in node.outputs[1:]:
        state.set(name, [])


@register("MatMulInteger", contracts=Contracts(matmul, scales=Scales((2,), (3,)), fitted=(1, 0)), integers=(1,))
@register("QLinearMatMul", contracts=Contracts(matmul, (0, 3), scales=Scales((1, 2), (4, 5), (6, 7))), integers=(0, 3))
@register(
    "QGemm",
    domain=MICROSOFT,
    contracts=Contracts(gemm, (0, 3), bias=6, scales=Scales((1, 2), (4, 5), (7, 8))),
    integers=(3, 6),
)
@register("DynamicQuantizeMatMul", domain=MICROSOFT, contracts=Contracts(matmul, bias=4, scales=Scales(b=(2, 3))))
@register("MatMulIntegerToFloat", domain=MICROSOFT, contracts=Contracts(matmul, bias=6, scales=Scales((2, 4), (3, 5))))
@register("MatMulInteger16", domain=MICROSOFT, contracts=Contracts(matmul, scales=Scales()))
def integer_matmul(node: Node, state: Channels) -> None:
    """A matrix product on integers: scales and zero points of B per column are coupled with it."""
    contracts, scales = _scaled(node)
    a, b = (list(state.of(name)) for name in contracts.inputs(node))
    if len(b) < 2 or not a:
        raise Decline(f"{node.op} with vectors is not followed")
    settings(node, state, None, scales.a + scales.y)
    _, labels = contracts.labels(node, [len(a), len(b)]).terms
    rows, columns = labels.index("k"), labels.index("n")
    per_column = settings(node, state, b[columns], scales.b)
    # with a zero point a zeroed row of B still counts: only A decides about the contraction
    b[rows] = b[rows].with_zero(b[rows].zero and _faithful(node, state, False))
    b[columns] = b[columns].with_zero(b[columns].zero and _faithful(node, state, per_column))
    state.set(node.outputs[0], contracted(node, state, [a, b]))


@register(
    "ConvInteger",
    rewrite=rewrite_group,
    contracts=Contracts(convolution, scales=Scales((2,), (3,)), fitted=(1,), windows=True),
    integers=(1,),
)
@register("QLinearConv", domain=BOTH, rewrite=rewrite_group, contracts=_QLINEAR_CONV, integers=(3, 8))
def integer_conv(node: Node, state: Channels) -> None:
    """A convolution on integers: scales and zero points of W per output channel are coupled with it."""
    contracts, scales = _scaled(node)
    if node.attr("channels_last", 0):
        raise Decline("QLinearConv in channels-last form is not followed")
    x, w = (state.of(name) for name in contracts.inputs(node))
    freeze_kernel(node, state, w)
    settings(node, state, None, scales.a + scales.y)
    per_channel = settings(node, state, w[0], scales.b)
    columns = w[1].with_zero(w[1].zero and _faithful(node, state, False))
    contract_groups(state, x[1], w[0], columns, int(node.attr("group", 1)))
    set_roles(node, state, 1)
    out = w[0].with_zero(w[0].zero and _faithful(node, state, per_channel))
    if contracts.bias >= 0 and node.input(contracts.bias):
        out = add_bias(node, state, [out], node.inputs[contracts.bias])[0]
    state.set(node.outputs[0], [x[0].with_zero(False), out, *space_axes(node, state, x, w)])


def _scaled(node: Node) -> tuple[Contracts, Scales]:
    contracts = contracts_of(node)
    assert contracts.scales is not None
    return contracts, contracts.scales


def _faithful(node: Node, state: Channels, per_channel: bool) -> bool:
    """Whether a zeroed weight stands for zero."""
    contracts, scales = _scaled(node)
    weight = contracts.inputs(node)[1]
    zero_point = node.input(scales.b[-1]) if scales.b else ""
    return per_channel or weight not in state.sources or state.values_zero(zero_point)


@register("QLinearAdd QLinearMul", domain=MICROSOFT, integers=(0, 3))
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
