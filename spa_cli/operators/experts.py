"""Mixtures of experts as one operator."""

from __future__ import annotations

from spa_cli.channels.state import CONSUMER, PRODUCER, Axis, Channels, Decline
from spa_cli.graph.model import Node
from spa_cli.operators.labelled import add_bias
from spa_cli.operators.registry import MICROSOFT, like_first, register


@register("MoE", domain=MICROSOFT, shape=like_first)
def mixture(node: Node, state: Channels) -> None:
    """``fc1, fc3 (E, inter, D)`` and ``fc2 (E, D, inter)``: widths prune, experts are chosen by data."""
    x = list(state.of(node.inputs[0]))
    state.freeze_tensor(node.inputs[1], "holds the scores of experts")
    if node.attr("swiglu_limit_after_activation", 0):
        raise Decline("MoE with a limit behind the activation is not followed")
    inner = _first_layer(node, state, x[-1], 2)
    if node.input(6):
        other = _first_layer(node, state, x[-1], 6)
        state.unify(inner, other)
        inner = inner.with_zero(inner.zero and other.zero)
    elif node.attr("activation_type") == "swiglu":
        fusion = int(node.attr("swiglu_fusion", 0))
        half = int(inner.size or 0) // 2
        parts = state.split(inner, (half, 2) if fusion == 1 else (2, half))
        gate, inner = parts if fusion != 1 else parts[::-1]
        state.freeze(gate, "tells the gate and its input apart")
    fc2 = state.of(node.inputs[4])
    _experts(state, fc2[0])
    state.contract(inner, fc2[2])
    state.role(node.inputs[4], 1, PRODUCER)
    state.role(node.inputs[4], 2, CONSUMER)
    # the operator gives as many channels as it takes
    state.unify(x[-1], fc2[1])
    out = fc2[1]
    if node.input(5):
        experts, out = add_bias(node, state, [fc2[0], out], node.inputs[5])
        _experts(state, experts)
    state.set(node.outputs[0], [*(a.with_zero(False) for a in x[:-1]), out])


def _first_layer(node: Node, state: Channels, x: Axis, at: int) -> Axis:
    weight = state.of(node.inputs[at])
    _experts(state, weight[0])
    state.contract(x, weight[2])
    state.role(node.inputs[at], 1, PRODUCER)
    state.role(node.inputs[at], 2, CONSUMER)
    if not node.input(at + 1):
        return weight[1]
    return add_bias(node, state, [weight[0], weight[1]], node.inputs[at + 1])[1]


def _experts(state: Channels, axis: Axis) -> None:
    state.freeze(axis, "experts are chosen by data")
