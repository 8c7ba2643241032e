"""Operators that read or write at data-dependent positions: those axes stay, the rest passes."""

from __future__ import annotations

from spa_cli.channels.state import Channels, Decline
from spa_cli.graph.model import Node
from spa_cli.operators.registry import BOTH, register


@register("GatherElements", "ScatterElements", "Scatter")
def along_one_axis(node: Node, state: Channels) -> None:
    """Indices run along one axis; on the others they line up with the data (graph networks' message passing)."""
    data, indices = state.of(node.inputs[0]), state.of(node.inputs[1])
    at = int(node.attr("axis", 0)) % len(data)
    scatter = node.op != "GatherElements"
    updates = state.of(node.inputs[2]) if scatter else indices
    why = "is addressed by data-dependent indices"
    result = []
    for i, (axis, index, update) in enumerate(zip(data, indices, updates, strict=True)):
        if i == at or not (axis.size == index.size == update.size):
            for touched in (axis, index, update):
                state.freeze(touched, why)
            result.append(axis if scatter else state.static(index.size, why))
            continue
        for other in (index, update):
            if other is not axis:
                state.unify(axis, other)
        moving = next((a for a in (axis, index, update) if not a.static), axis)
        result.append(moving.with_zero(axis.zero and (update.zero or not scatter)))
    state.set(node.outputs[0], result)


@register("GatherND", domain=BOTH)
def gather_nd(node: Node, state: Channels) -> None:
    """Leading axes are addressed, trailing ones pass."""
    data, indices = state.of(node.inputs[0]), state.of(node.inputs[1])
    batch, depth = int(node.attr("batch_dims", 0)), indices[-1].size
    if depth is None:
        raise Decline("how deep GatherND addresses depends on the data")
    for axis in (*data[: batch + depth], *indices):
        state.freeze(axis, "is addressed by data-dependent indices")
    head = [state.static(a.size, "is addressed by data-dependent indices") for a in indices[:-1]]
    state.set(node.outputs[0], [*head, *data[batch + depth :]])


@register("TensorScatter")
def tensor_scatter(node: Node, state: Channels) -> None:
    """Writes new tokens into a cache along one axis; the others line up with it."""
    cache, update = state.of(node.inputs[0]), state.of(node.inputs[1])
    at = int(node.attr("axis", -2)) % len(cache)
    for axis in (cache[at], update[at]):
        state.freeze(axis, "is written at positions that depend on the data")
    state.freeze_tensor(node.input(2), "holds positions")
    result = []
    for i, (axis, own) in enumerate(zip(cache, update, strict=True)):
        shared = axis if i == at else state.together([axis, own])
        result.append(shared.with_zero(axis.zero and own.zero))
    state.set(node.outputs[0], result)


@register("Compress")
def compress(node: Node, state: Channels) -> None:
    """Keeps what a condition says along one axis."""
    data, axis = list(state.of(node.inputs[0])), node.attr("axis")
    sizes = state.shapes.shape.get(node.outputs[0])
    if axis is None or sizes is None:
        raise Decline("Compress flattens its input")
    at = int(axis) % len(data)
    state.freeze(data[at], "Compress picks along it by value")
    data[at] = state.static(sizes[at], "Compress picks along it by value")
    state.set(node.outputs[0], data)


@register("OneHot", settings=(1, 2))
def one_hot(node: Node, state: Channels) -> None:
    """A new axis over the classes."""
    indices = [a.with_zero(False) for a in state.of(node.inputs[0])]
    at = int(node.attr("axis", -1)) % (len(indices) + 1)
    sizes = state.shapes.shape.get(node.outputs[0])
    classes = state.static(sizes[at] if sizes else None, "OneHot counts classes along it")
    state.set(node.outputs[0], [*indices[:at], classes, *indices[at:]])
