"""The dependency pass: one walk over the graph, each operator relating the axes of its tensors."""

from __future__ import annotations

from collections.abc import Sequence

from spa_cli.channels.state import Channels
from spa_cli.graph.model import Graph
from spa_cli.graph.shapes import Shapes
from spa_cli.operators.relate import relate
from spa_cli.operators.states import closed_axes, find_pairs, is_open, open_axes, tie

ONE = "has a single channel"


def analyse(graph: Graph, shapes: Shapes, shrinking: Sequence[tuple[str, str]] | None = None) -> Channels:
    """Relate every axis of every tensor of ``graph`` (Alg. 1 of the SPA paper, whole axes at a time).

    ``shrinking``: states may lose channels, those that are found and these, an input with the output that gives it
    back; ``None``: inputs and outputs keep their shapes.
    """
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
            moves = shrinking is not None and is_open(graph, name, shrinking)
            state.axes[name] = (open_axes if moves else closed_axes)(state, name)
    for node in graph.nodes:
        relate(state, node)
    if shrinking is not None:
        state.pairs = tuple(tie(state, pair) for pair in find_pairs(graph, shapes, shrinking, state))
    tied = {p.output for p in state.pairs if not p.why}
    for name in graph.outputs:
        if name in tied:
            continue
        for axis in state.all_axes(name):
            if not axis.static:
                state.ids.freeze(axis.rows, state.ids.reason(f"graph output '{name}' keeps its shape", ""))
    return state
