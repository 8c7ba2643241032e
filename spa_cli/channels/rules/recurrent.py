"""Recurrent layers: input features are contracted, hidden units are channels in every gate."""

from __future__ import annotations

import numpy as np

from spa_cli.channels.rules.registry import register
from spa_cli.channels.state import CONSUMER, PASS_THROUGH, PRODUCER, Axis, Channels, Decline
from spa_cli.graph.model import Node
from spa_cli.surgery.cut import Cut

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def rewrite_hidden(node: Node, cut: Cut) -> None:
    """``hidden_size``: the width of R that is left."""
    cut.set_attribute(node, "hidden_size", cut.shape(node.inputs[2])[2])


@register("LSTM", "GRU", "RNN", rewrite=rewrite_hidden)
def recurrent(node: Node, state: Channels) -> None:
    """``W (dirs, gates*h, in)``, ``R (dirs, gates*h, h)``, ``B (dirs, 2*gates*h)``, ``P (dirs, 3*h)``.

    A zeroed unit stays zero: its candidate is 0 and its state only ever shrinks towards it (initial state zero).
    """
    gates = _GATES[node.op]
    x, w, r = (state.of(n) for n in node.inputs[:3])
    if int(node.attr("layout", 0)):
        raise Decline(f"{node.op} with layout 1 is not followed")
    state.contract(x[2], w[2])
    directions, units = w[0], r[2]
    if not directions.static:
        state.freeze(directions, "runs over the directions of a recurrent layer")
        state.ids.refinements.append([directions.rows, units.rows])
    stacked = Axis(np.tile(units.rows, (gates, 1)), True, units.why, gates * len(units.rows))
    coupled = [(w[1], stacked), (r[1], stacked)]
    if node.input(3):
        coupled.append((state.of(node.inputs[3])[1], Axis(np.tile(stacked.rows, (2, 1)), True, 0, 2 * stacked.size)))  # type: ignore[operator]
    if node.input(7):
        coupled.append((state.of(node.inputs[7])[1], Axis(np.tile(units.rows, (3, 1)), True, 0, 3 * len(units.rows))))
    for own, wanted in coupled:
        state.unify(own, wanted)
    for index in (0, 1, 2, 3, 7):
        if node.input(index) and index:
            state.unify(directions, state.of(node.inputs[index])[0])
    for index, axis, role in (
        (1, 2, CONSUMER),
        (1, 1, PRODUCER),
        (2, 2, CONSUMER),
        (3, 1, PASS_THROUGH),
        (7, 1, PASS_THROUGH),
    ):
        if node.input(index):
            state.role(node.inputs[index], axis, role)
    zero = _silent_activations(node)
    for index in (5, 6):
        if node.input(index):
            initial = state.of(node.inputs[index])
            state.unify(directions, initial[0])
            state.unify(x[1], initial[1])
            state.unify(units, initial[2])
            zero = zero and initial[2].zero
    if not zero:
        state.inexact(units, f"a unit of {node.op} is not zero when its weights are")
    batch = x[1].with_zero(False)
    for step in x[:1]:
        state.freeze(step, f"{node.op} runs along it")
    if node.input(4):
        for length in state.of(node.inputs[4]):
            state.freeze(length, "holds sequence lengths")
    hidden = units.with_zero(zero)
    outputs = (
        [x[0].with_zero(False), directions, batch, hidden],
        [directions, batch, hidden],
        [directions, batch, hidden],
    )
    for name, axes in zip(node.outputs, outputs, strict=False):
        state.set(name, axes)


def _silent_activations(node: Node) -> bool:
    """Default activations give a zero candidate at zero input; so do these."""
    names = [a.lower() for a in node.attr("activations", [])]
    per_direction = {"LSTM": 3, "GRU": 2, "RNN": 1}[node.op]
    candidates = {"LSTM": (1, 2), "GRU": (1,), "RNN": (0,)}[node.op]
    silent = {"tanh", "relu", "softsign", "leakyrelu", "elu"}
    return all(n in silent for i, n in enumerate(names) if i % per_direction in candidates)
