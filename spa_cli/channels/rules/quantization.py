"""Quantised tensors in QDQ form: scales and zero points follow their channel."""

from __future__ import annotations

from spa_cli.channels.rules.registry import register
from spa_cli.channels.state import PASS_THROUGH, Axis, Channels, Decline
from spa_cli.graph.model import Node


@register("QuantizeLinear", "DequantizeLinear")
def quantize(node: Node, state: Channels) -> None:
    """One scale for all passes; one per channel is coupled with the axis it belongs to."""
    x = list(state.of(node.inputs[0]))
    if node.attr("block_size", 0):
        raise Decline("block-wise quantisation is not followed")
    scale = state.of(node.inputs[1])
    per_axis = len(scale) == 1 and scale[0].size != 1
    at = int(node.attr("axis", 1)) % max(len(x), 1)
    symmetric = state.values_zero(node.input(2))
    # an activation keeps meaning zero through Q and DQ; a stored integer 0 means zero only if the zero point is 0
    faithful = symmetric or node.inputs[0] not in state.sources
    result: list[Axis] = []
    for i, axis in enumerate(x):
        zero = axis.zero and faithful
        if per_axis and i == at:
            for name in node.inputs[1:3]:
                if name:
                    state.unify(axis, state.of(name)[0])
                    state.role(name, 0, PASS_THROUGH)
            axis = scale[0] if axis.static else axis
            # the scale is zeroed too; quantising would divide by it
            if node.op == "QuantizeLinear":
                state.inexact(axis, "its quantisation scale would become zero")
            else:
                zero = True
        result.append(axis.with_zero(zero))
    state.set(node.outputs[0], result)
