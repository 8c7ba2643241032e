"""ScatterND: by known indices it replaces channels (a partial convolution); by data, what it addresses stays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spa_cli.channels.state import Axis, Channels, Decline
from spa_cli.graph.known import Shapes
from spa_cli.graph.model import Array, Graph, Node
from spa_cli.graph.shapes import constant
from spa_cli.operators.registry import register
from spa_cli.surgery.cut import Cut


class Written(NamedTuple):
    """Where it writes along one axis of the data: one of ``places`` per index on axis ``along`` of the indices.

    ``along``: -1 where it writes at a single place.
    """

    along: int
    places: NDArray[np.int64]


def _written(graph: Graph, shapes: Shapes, node: Node) -> list[Written] | None:
    """Per addressed axis, what is written; ``None`` where data decides it, or where it is no grid of rows.

    What grows with the inputs' free dimensions (a batch) is written whole at any size.
    """
    data, name = node.inputs[:2]
    indices, sizes = constant(graph, shapes, name), shapes.shape.get(data)
    if indices is None or sizes is None:
        return None
    found = _grid(indices, sizes)
    if found is None or not np.any(shapes.varying.get(name, False)):
        return found
    again, other = shapes.otherwise.get(name), shapes.elsewhere.get(data)
    there = None if again is None or other is None else _grid(again, other)
    if there is None or other is None:
        return None
    for axis, (here, moved) in enumerate(zip(found, there, strict=True)):
        same = here.along == moved.along and np.array_equal(here.places, moved.places)
        whole = len(here.places) == sizes[axis] and len(moved.places) == other[axis]
        if not same and not whole:
            return None
    return found


def _grid(indices: Array, sizes: tuple[int | None, ...]) -> list[Written] | None:
    heads = indices.shape[:-1]
    free, found = [j for j, n in enumerate(heads) if n == 1], list[Written]()
    if not indices.size:
        return None
    for axis, size in enumerate(sizes[: indices.shape[-1]]):
        if size is None:
            return None
        column = indices[..., axis].astype(np.int64)
        column = np.where(column < 0, column + size, column)
        varies = [j for j in range(len(heads)) if (column != column.take([0], j)).any()]
        if len(varies) > 1:
            return None
        along = varies[0] if varies else free.pop(0) if free else -1
        line = column.ravel()[:1] if along < 0 else np.moveaxis(column, along, 0).reshape(heads[along], -1)[:, 0]
        if len(np.unique(line)) < len(line):
            return None
        found.append(Written(along, line))
    used = [w.along for w in found if w.along >= 0]
    # nothing is written twice
    return found if len(used) == len(set(used)) and {j for j, n in enumerate(heads) if n > 1} <= set(used) else None


def rewrite_scatter_nd(node: Node, cut: Cut) -> None:
    """Indices follow their channels; those of removed ones disappear."""
    data, name = node.inputs[:2]
    found, indices = _written(cut.graph, cut.known, node), cut.old_value(name)
    if found is None or indices is None:
        return
    less = np.zeros([1] * (indices.ndim - 1) + [indices.shape[-1]], indices.dtype)
    gone = dict[int, Array]()
    for axis, (along, places) in enumerate(found):
        if cut.shape(data)[axis] == cut.old_shape(data)[axis]:
            continue
        moved = cut.new_positions(data, axis)[places]
        stay = np.flatnonzero(moved >= 0)
        line = (places - moved)[stay].reshape([-1 if j == along else 1 for j in range(indices.ndim)])
        only = np.arange(indices.shape[-1]) == axis
        less = less + (line * only).astype(less.dtype)
        if len(stay) < len(places):
            gone[along] = stay
    if cut.varying(name).any():
        for along, stay in gone.items():
            cut.put_before(node, 1, "Gather", stay, axis=along)
        if less.any():
            cut.put_before(node, 1, "Sub", less)
    elif gone or less.any():
        for along, stay in gone.items():
            indices = indices.take(stay, along)
        size = np.array(cut.old_shape(data)[: indices.shape[-1]])
        cut.set_constant(node, 1, (np.where(indices < 0, indices + size, indices) - less).astype(indices.dtype))


@register("ScatterND", rewrite=rewrite_scatter_nd)
def scatter_nd(node: Node, state: Channels) -> None:
    """By known indices: those channels are the updates'. By data: addressed axes stay. Trailing ones pass."""
    data, indices, updates = (state.of(n) for n in node.inputs)
    depth, heads = indices[-1].size, len(indices) - 1
    if depth is None:
        raise Decline("how deep ScatterND addresses depends on the data")
    for axis in indices:
        state.freeze(axis, "holds indices")
    written = _written(state.graph, state.shapes, node)
    if written is None:
        for axis in (*data[:depth], *updates[:heads]):
            state.freeze(axis, "is addressed by data-dependent indices")
    result: list[Axis] = list(data[:depth])
    for at, (along, places) in enumerate(written or ()):
        axis = data[at]
        rows = axis if axis.static else state.derived(axis.rows[places], axis)
        if along < 0:
            state.freeze(rows, "is written at its index")
            continue
        state.unify(rows, updates[along])
        result[at] = axis.with_zero(axis.zero and (updates[along].static or updates[along].zero))
    for axis, update in zip(data[depth:], updates[heads:], strict=True):
        result.append(state.together([axis, update]).with_zero(axis.zero and update.zero))
    state.set(node.outputs[0], result)
