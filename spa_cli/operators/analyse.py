"""The dependency pass: one walk over the graph, each operator relating the axes of its tensors."""

from __future__ import annotations

from spa_cli.channels.state import Channels
from spa_cli.graph.model import Graph
from spa_cli.graph.shapes import Shapes
from spa_cli.operators.relate import relate

ONE = "has a single channel"


def analyse(graph: Graph, shapes: Shapes) -> Channels:
    """Relate every axis of every tensor of ``graph`` (Alg. 1 of the SPA paper, whole axes at a time)."""
    state = Channels(graph, shapes)
    used = {*graph.consumers, *graph.outputs}
    for name, tensor in graph.parameters.items():
        state.sources[name] = frozenset({name})
        if name not in used or 0 in tensor.dims:
            why = "holds nothing" if name in used else "is not used by any operator"
            state.axes[name] = [state.static(d, why, "") for d in tensor.dims]
            continue
        state.axes[name] = [state.fresh(d, zero=True) if d > 1 else state.static(d, ONE, "") for d in tensor.dims]
    for name in graph.inputs:
        if name in shapes.shape:
            state.axes[name] = [
                state.static(d, f"graph input '{name}' keeps its shape", "") for d in shapes.shape[name]
            ]
    for node in graph.nodes:
        relate(state, node)
    for name in graph.outputs:
        for axis in state.all_axes(name):
            if not axis.static:
                state.ids.freeze(axis.rows, state.ids.reason(f"graph output '{name}' keeps its shape", ""))
    return state
