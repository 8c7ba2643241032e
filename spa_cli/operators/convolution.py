"""Convolutions: windows over space, contraction over channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from spa_cli.channels.state import PASS_THROUGH, Axis, Channels, Decline
from spa_cli.graph.model import Node
from spa_cli.operators.contracts import Contracts
from spa_cli.operators.labelled import add_bias, added_in, keeps_zero, set_roles
from spa_cli.operators.registry import BOTH, MICROSOFT, contracts_of, like_first, register
from spa_cli.surgery.cut import Cut

WINDOW = "a window slides over it"


def convolution(node: Node, ranks: Sequence[int]) -> str:
    """Windows of x, the taps of w; g groups, each with channels of its own."""
    last = node.attr("channels_last", 0)
    return _grouped(node, "n(s+k)*(gc),(gm)ck*->ns*(gm)" if last else "n(gc)(s+k)*,(gm)ck*->n(gm)s*")


def transposed_convolution(node: Node, ranks: Sequence[int]) -> str:
    """The other way round: every position of x adds a window to y."""
    return _grouped(node, "n(gc)s*,(gc)mk*->n(gm)(s+k)*")


def _grouped(node: Node, equation: str) -> str:
    return equation if node.attr("group", 1) > 1 else equation.replace("g", "")


def rewrite_group(node: Node, cut: Cut) -> None:
    """``group``: as many as the input channels that are left allow, at the weight's new width."""
    groups = int(node.attr("group", 1))
    if groups > 1:
        x, weight = contracts_of(node).inputs(node)
        cut.set_attribute(node, "group", cut.shape(x)[1] // cut.shape(weight)[1])


def rewrite_transposed_group(node: Node, cut: Cut) -> None:
    """``group``: whole groups may be gone."""
    groups = int(node.attr("group", 1))
    if groups > 1:
        kept = cut.kept_mask(node.inputs[1], 0).reshape(groups, -1).any(1)
        cut.set_attribute(node, "group", int(kept.sum()))


_CONV = Contracts(convolution, bias=2, fitted=(1,), windows=True)


@register("Conv", rewrite=rewrite_group, contracts=_CONV)
@register("FusedConv", domain=MICROSOFT, rewrite=rewrite_group, contracts=replace(_CONV, added=3), shape="Conv")
def conv(node: Node, state: Channels) -> None:
    """``W (M, C/g, *k)`` contracts the input channels of each of ``g`` groups."""
    x, w = state.of(node.inputs[0]), state.of(node.inputs[1])
    freeze_kernel(node, state, w)
    contract_groups(state, x[1], w[0], w[1], int(node.attr("group", 1)))
    set_roles(node, state, 1)
    out = w[0]
    if node.input(2):
        out = add_bias(node, state, [out], node.inputs[2])[0]
    if added_in(node):
        added = state.of(added_in(node))
        for axis in (added[0], *added[2:], x[0], *x[2:]):
            state.freeze(axis, "is added to the result of a convolution")
        out = state.together([out, added[1]]).with_zero(out.zero and added[1].zero)
    batch, out = x[0].with_zero(False), out.with_zero(out.zero and keeps_zero(node))
    state.set(node.outputs[0], [batch, out, *space_axes(node, state, x, w)])


@register(
    "ConvTranspose",
    rewrite=rewrite_transposed_group,
    contracts=Contracts(transposed_convolution, bias=2, fitted=(1,), windows=True),
)
def conv_transpose(node: Node, state: Channels) -> None:
    """``W (C, M/g, *k)``: input channels first, outputs per group second."""
    x, w = state.of(node.inputs[0]), state.of(node.inputs[1])
    groups = int(node.attr("group", 1))
    freeze_kernel(node, state, w)
    state.contract(x[1], w[0])
    set_roles(node, state, 1)
    out = w[1]
    if groups > 1:
        of_group, _ = state.split(w[0], (groups, int(w[0].size or 0) // groups))
        out = state.merge([of_group, w[1]])
    if node.input(2):
        out = add_bias(node, state, [out], node.inputs[2])[0]
    state.set(node.outputs[0], [x[0].with_zero(False), out, *space_axes(node, state, x, w)])


def contract_groups(state: Channels, channels: Axis, outputs: Axis, inputs: Axis, groups: int) -> None:
    """Each group of ``channels`` is contracted with the weight's ``inputs`` and makes its share of ``outputs``."""
    if groups == 1:
        state.contract(channels, inputs)
        return
    of_group, inside = state.split(channels, (groups, int(channels.size or 0) // groups))
    of_group_out, _ = state.split(outputs, (groups, int(outputs.size or 0) // groups))
    state.unify(of_group, of_group_out)
    state.contract(inside, inputs)


def freeze_kernel(node: Node, state: Channels, w: list[Axis]) -> None:
    """Positions of the window are not channels."""
    for axis in w[2:]:
        state.freeze(axis, "is the window of a convolution")


def space_axes(node: Node, state: Channels, x: list[Axis], w: list[Axis]) -> list[Axis]:
    """Spatial axes: a window of one moves along with its input, any other freezes it."""
    sizes = state.shapes.shape.get(node.outputs[0])
    if sizes is None:
        raise Decline("the size of its output is not known")
    pointwise = (
        not any(node.attr("pads", [])) and all(s == 1 for s in node.attr("strides", [1])) and node.op != "ConvTranspose"
    )
    result = []
    for i, (axis, kernel) in enumerate(zip(x[2:], w[2:], strict=True)):
        if kernel.size == 1 and pointwise:
            result.append(axis.with_zero(axis.zero and not node.input(2)))
        else:
            state.freeze(axis, WINDOW)
            result.append(state.static(sizes[2 + i], WINDOW))
    return result


@register("DeformConv", contracts=Contracts(convolution, bias=3, windows=True))
def deform_conv(node: Node, state: Channels) -> None:
    """Like Conv; offsets and mask keep their channels (they are positions)."""
    for index in (2, 4):
        state.freeze_tensor(node.input(index), "holds the offsets of a deformable convolution")
    if node.attr("group", 1) != 1 or node.attr("offset_group", 1) != 1:
        raise Decline("a grouped deformable convolution is not followed")
    x, w = state.of(node.inputs[0]), state.of(node.inputs[1])
    freeze_kernel(node, state, w)
    state.contract(x[1], w[1])
    set_roles(node, state, 1)
    out = w[0]
    if node.input(3):
        out = add_bias(node, state, [out], node.inputs[3])[0]
    for axis in x[2:]:
        state.freeze(axis, WINDOW)
    space = [state.static(d, WINDOW) for d in state.shape(node.outputs[0])[2:]]
    state.set(node.outputs[0], [x[0].with_zero(False), out, *space])


@register("CausalConvWithState", domain=BOTH, shape=like_first)
def causal_conv(node: Node, state: Channels) -> None:
    """A depthwise convolution ``(B, C, L)`` that carries its last inputs on in a state."""
    odd = ("channels_last", "state_window", "input_channels", "input_channel_offset", "state_update_capacity")
    if any(node.attr(name, 0) for name in odd) or len(node.outputs) > 2:
        raise Decline("CausalConvWithState in an extended form is not followed")
    x, w = state.of(node.inputs[0]), state.of(node.inputs[1])
    freeze_kernel(node, state, w)
    out = state.together([x[1], w[0]]).with_zero(x[1].zero or w[0].zero)
    state.role(node.inputs[1], 0, PASS_THROUGH)
    if node.input(2):
        out = add_bias(node, state, [out], node.inputs[2])[0]
    batch = x[0].with_zero(False)
    if node.input(3):
        past = state.of(node.inputs[3])
        state.unify(x[1], past[1])
        for axis in (past[0], past[2]):
            state.freeze(axis, "holds earlier inputs")
    for axis in x[2:]:
        state.freeze(axis, WINDOW)
    sizes = state.shapes.shape.get(node.outputs[0]) or (None,) * len(x)
    state.set(node.outputs[0], [batch, out, *(state.static(s, WINDOW) for s in sizes[2:])])
    if len(node.outputs) > 1 and node.outputs[1]:
        kept = state.shapes.shape.get(node.outputs[1]) or (None,) * len(x)
        state.set(node.outputs[1], [batch, x[1], *(state.static(s, "holds earlier inputs") for s in kept[2:])])
