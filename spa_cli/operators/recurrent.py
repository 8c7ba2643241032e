"""Recurrent layers: input features are contracted, hidden units are channels in every gate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spa_cli.channels.state import CONSUMER, PASS_THROUGH, PRODUCER, Axis, Channels, Decline
from spa_cli.graph.model import Node
from spa_cli.graph.shapes import Shape
from spa_cli.graph.zeros import only_zeros
from spa_cli.operators.contracts import Contracts, Scales
from spa_cli.operators.registry import MICROSOFT, register
from spa_cli.surgery.cut import Cut

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
# inputs with the states before the first step; zeros where a node has none
_INITIAL = (5, 6)


def rewrite_hidden(node: Node, cut: Cut) -> None:
    """``hidden_size``: the rows of R that are left, per gate. Initial states of zeros that no longer fit go."""
    own = 2 if node.op in _GATES else 1
    hidden = cut.shape(node.inputs[2])[own]
    cut.set_attribute(node, "hidden_size", hidden)
    batch_at = 0 if node.attr("layout", 0) else 1
    wanted = (cut.shape(node.inputs[0])[batch_at], hidden)
    for index in _INITIAL:
        name = node.input(index)
        if name and only_zeros(cut.graph, name) and (cut.shape(name)[batch_at], cut.shape(name)[-1]) != wanted:
            cut.leave_out(node, index)


def gates(node: Node, ranks: Sequence[int]) -> str:
    """What the g gates of every direction d get from the input at step t."""
    x, y = ("bti", "btdh") if node.attr("layout", 0) else ("tbi", "tdbh")
    return f"{x},dgi->{y}" if node.op in _GATES else f"{x},dig->{y}"


@register("LSTM", "GRU", "RNN", rewrite=rewrite_hidden, contracts=Contracts(gates, fitted=(1,), recurrence=2))
def recurrent(node: Node, state: Channels) -> None:
    """``W (dirs, gates*h, in)``, ``R (dirs, gates*h, h)``, ``B (dirs, 2*gates*h)``, ``P (dirs, 3*h)``."""
    _layer(node, state, _GATES[node.op], gates_at=1, inputs_at=2, peepholes=7)


def lstm_shapes(node: Node, shapes: list[Shape | None]) -> list[Shape]:
    """All steps, and the last states."""
    steps, batch, _ = shapes[0] or ()
    directions, hidden = (shapes[2] or ())[:2]
    last = (directions, batch, hidden)
    return [(steps, directions, batch, hidden), last, last]


@register(
    "DynamicQuantizeLSTM",
    domain=MICROSOFT,
    rewrite=rewrite_hidden,
    contracts=Contracts(gates, scales=Scales(b=(8, 9)), recurrence=2),
    shape=lstm_shapes,
)
def quantised_lstm(node: Node, state: Channels) -> None:
    """An LSTM on integers: ``W (dirs, in, 4*h)``, ``R (dirs, h, 4*h)``, scales per direction or per gate unit."""
    for weight, scale, zero in ((1, 8, 9), (2, 10, 11)):
        if not state.values_zero(node.input(zero)):
            raise Decline("DynamicQuantizeLSTM with zero points of its weights is not followed")
        directions, _, units = state.of(node.inputs[weight])
        for name in (node.input(scale), node.input(zero)):
            if name:
                own = state.of(name)
                state.unify(directions, own[0])
                if len(own) > 1:
                    state.unify(units, own[1])
                    state.role(name, 1, PASS_THROUGH)
    _layer(node, state, 4, gates_at=2, inputs_at=1, peepholes=7)


def _layer(node: Node, state: Channels, gates: int, gates_at: int, inputs_at: int, peepholes: int) -> None:
    """A zeroed unit stays zero: its candidate is 0 and its state only ever shrinks towards it (initial state zero)."""
    x, w, r = (state.of(n) for n in node.inputs[:3])
    state.contract(x[2], w[inputs_at])
    directions, units = w[0], r[inputs_at]
    if not directions.static:
        state.freeze(directions, "runs over the directions of a recurrent layer")
        state.ids.refinements.append([directions.rows, units.rows])
    stacked = Axis(np.tile(units.rows, (gates, 1)), True, units.why, gates * len(units.rows))
    coupled = [(w[gates_at], stacked), (r[gates_at], stacked)]
    for index, times, of in ((3, 2, stacked), (peepholes, 3, units)):
        if node.input(index):
            tiled = Axis(np.tile(of.rows, (times, 1)), True, 0, times * len(of.rows))
            coupled.append((state.of(node.inputs[index])[1], tiled))
    for own, wanted in coupled:
        state.unify(own, wanted)
    for index in (1, 2, 3, peepholes):
        if node.input(index):
            state.unify(directions, state.of(node.inputs[index])[0])
    for index, axis, role in (
        (1, inputs_at, CONSUMER),
        (1, gates_at, PRODUCER),
        (2, inputs_at, CONSUMER),
        (3, 1, PASS_THROUGH),
        (peepholes, 1, PASS_THROUGH),
    ):
        if node.input(index):
            state.role(node.inputs[index], axis, role)
    _states(node, state, x, directions, units)


def _states(node: Node, state: Channels, x: list[Axis], directions: Axis, units: Axis) -> None:
    """Sequence, initial states and outputs; ``layout`` 1 puts the batch first."""
    batch_first = bool(node.attr("layout", 0))
    steps, batch = (x[1], x[0]) if batch_first else (x[0], x[1])
    zero = _silent_activations(node)
    for index in _INITIAL:
        if node.input(index):
            initial = state.of(node.inputs[index])
            if only_zeros(state.graph, node.inputs[index]):
                # no tie: layers share them, and a layer that is cut does without
                for name in state.sources.get(node.inputs[index], ()):
                    state.freeze_tensor(name, "is an initial state of zeros")
                continue
            own_batch, own_directions = initial[:2] if batch_first else initial[1::-1]
            state.unify(directions, own_directions)
            state.unify(batch, own_batch)
            state.unify(units, initial[2])
            zero = zero and initial[2].zero
    if not zero:
        state.inexact(units, f"a unit of {node.op} is not zero when its weights are")
    state.freeze(steps, f"{node.op} runs along it")
    state.freeze_tensor(node.input(4), "holds sequence lengths")
    batch, steps, hidden = batch.with_zero(False), steps.with_zero(False), units.with_zero(zero)
    every = [batch, steps, directions, hidden] if batch_first else [steps, directions, batch, hidden]
    last = [batch, directions, hidden] if batch_first else [directions, batch, hidden]
    for name, axes in zip(node.outputs, (every, last, last), strict=False):
        state.set(name, axes)


def _silent_activations(node: Node) -> bool:
    """Default activations give a zero candidate at zero input; so do these."""
    names = [a.lower() for a in node.attr("activations", [])]
    per_direction = {"GRU": 2, "RNN": 1}.get(node.op, 3)
    candidates = {"GRU": (1,), "RNN": (0,)}.get(node.op, (1, 2))
    silent = {"tanh", "relu", "softsign", "leakyrelu", "elu"}
    return all(n in silent for i, n in enumerate(names) if i % per_direction in candidates)
