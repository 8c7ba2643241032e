"""One operator's turn in the dependency pass: its record's rule, and what happens when that can't follow it."""

from __future__ import annotations

from spa_cli.channels.state import Channels, Decline
from spa_cli.graph.bodies import captured_names
from spa_cli.graph.guard import guarded
from spa_cli.graph.model import Node
from spa_cli.operators.registry import record_of


def relate(state: Channels, node: Node) -> None:
    """Apply the rule of ``node``; what can't be followed is frozen with the rule's own sentence."""
    if node.outputs and all(o in state.graph.parameters for o in node.outputs if o):
        return  # a Constant: its axes are there already
    around = state.node, state.read
    state.node, state.read = node, set()
    try:
        _relate(state, node)
    finally:
        state.node, state.read = around


def _relate(state: Channels, node: Node) -> None:
    inputs = [i for i in node.inputs if i]
    if inputs and not node.bodies and all(i in state.sources for i in inputs):
        sources = frozenset().union(*(state.sources[i] for i in inputs))
        state.sources.update({o: sources for o in node.outputs if o})
    try:
        with guarded(node, Decline, lasting=True):
            record_of(node).relate(node, state)
            _check(state, node)
        for name in set(inputs) - state.read:
            # scales, ratios, depths: a rule that does not look at an input's axes has not followed it
            for axis in state.axes.get(name, []):
                state.freeze(axis, f"{node.op} reads it as a setting")
    except Decline as reason:
        _freeze_all(state, node, str(reason))


def _check(state: Channels, node: Node) -> None:
    """A rule must agree with shape inference on every output: a slip freezes, it never cuts wrongly."""
    for name in node.outputs:
        expected = state.shapes.shape.get(name)
        if not name:
            continue
        if name not in state.axes:
            if expected is not None:
                raise Decline(f"operator {node.op} gives '{name}' no axes")
            continue
        found = tuple(a.size for a in state.axes[name])
        if expected is None:
            state.shapes.shape[name] = found
        elif len(found) != len(expected) or any(
            a is not None and b is not None and a != b for a, b in zip(found, expected, strict=True)
        ):
            raise Decline(f"its output '{name}' has shape {expected}, not {found} as its inputs suggest")


def _freeze_all(state: Channels, node: Node, text: str) -> None:
    why = state.why(text)
    state.declined[node.label] = (node, text)
    for name in (*node.inputs, *node.outputs, *captured_names(node.proto)):
        for axis in state.all_axes(name):
            if not axis.static:
                state.ids.freeze(axis.rows, why)
    for name in node.outputs:
        shape = state.shapes.shape.get(name)
        if name and shape is not None:
            state.axes[name] = [state.static(d, text) for d in shape]
        else:
            state.axes.pop(name, None)
