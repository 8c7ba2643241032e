"""The dependency pass: one walk over the graph, each operator relating the axes of its tensors."""

from __future__ import annotations

import onnx

from spa_cli.channels.rules import rule_for
from spa_cli.channels.state import Channels, Decline
from spa_cli.graph.model import Graph, Node, captured_names
from spa_cli.graph.shapes import Shapes

ONE = "has a single channel"


def analyse(graph: Graph, shapes: Shapes) -> Channels:
    """Relate every axis of every tensor of ``graph`` (Alg. 1 of the SPA paper, whole axes at a time)."""
    state = Channels(graph, shapes)
    used = {*graph.consumers, *graph.outputs, *(c for n in graph.nodes for c in captured_names(n.proto))}
    for name, tensor in graph.parameters.items():
        state.sources[name] = frozenset({name})
        if name not in used:
            state.axes[name] = [state.static(d, "is not used by any operator", "") for d in tensor.dims]
            continue
        state.axes[name] = [state.fresh(d, zero=True) if d > 1 else state.static(d, ONE, "") for d in tensor.dims]
    for name, dims in graph.sparse.items():
        state.axes[name] = [state.static(d, "is stored as a sparse initializer", name) for d in dims]
    for name in graph.inputs:
        if name in shapes.shape:
            state.axes[name] = [
                state.static(d, f"graph input '{name}' keeps its shape", "") for d in shapes.shape[name]
            ]
    for node in graph.nodes:
        if node.outputs and all(o in graph.parameters for o in node.outputs if o):
            continue
        relate(state, node)
    for name in graph.outputs:
        for axis in state.axes.get(name, []):
            if not axis.static:
                state.ids.freeze(axis.rows, state.ids.reason(f"graph output '{name}' keeps its shape", ""))
    return state


def relate(state: Channels, node: Node) -> None:
    """Apply the rule of ``node``; what can't be followed is frozen with the rule's own sentence."""
    state.node, state.read = node, set()
    inputs = [i for i in node.inputs if i]
    if inputs and not _has_bodies(node) and all(i in state.sources for i in inputs):
        sources = frozenset().union(*(state.sources[i] for i in inputs))
        state.sources.update({o: sources for o in node.outputs if o})
    try:
        rule_for(node).relate(node, state)
        _check(state, node)
        for name in set(inputs) - state.read:
            # scales, ratios, depths: a rule that does not look at an input's axes has not followed it
            for axis in state.axes.get(name, []):
                state.freeze(axis, f"{node.op} reads it as a setting")
    except Decline as reason:
        _freeze_all(state, node, str(reason))


def _has_bodies(node: Node) -> bool:
    return any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in node.proto.attribute)


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
    for name in (*node.inputs, *node.outputs):
        for axis in state.axes.get(name, []):
            if not axis.static:
                state.ids.freeze(axis.rows, why)
    for name in node.outputs:
        shape = state.shapes.shape.get(name)
        if name and shape is not None:
            state.axes[name] = [state.static(d, text) for d in shape]
        else:
            state.axes.pop(name, None)
