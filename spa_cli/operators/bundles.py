"""Tensors that are joined and taken apart again: what holds of one part need not hold of another.

PyTorch stacks the last states of all layers of an LSTM; a network then reads the last layer's alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spa_cli.graph.known import Shapes
from spa_cli.graph.model import Graph, Node
from spa_cli.graph.shapes import constant
from spa_cli.operators.spans import set_bounds, spans
from spa_cli.surgery.cut import Cut


class Part(NamedTuple):
    """A node reads ``places`` along ``axis`` of ``source``, one of the tensors that ``joint`` joins."""

    joint: Node
    source: str
    axis: int
    places: NDArray[np.int64]


def parts_of(graph: Graph, shapes: Shapes, joint: Node) -> list[tuple[Node, Part]] | None:
    """Who reads a Concat, and which part; ``None`` if it is not taken apart again by all that read it."""
    name = joint.outputs[0]
    readers = graph.consumers.get(name, [])
    rank = len(shapes.shape.get(joint.inputs[0]) or ())
    if name in graph.outputs or not readers or len(joint.inputs) < 2 or not rank:
        return None
    axis = int(joint.attr("axis", 1)) % rank
    sizes = [shapes.fixed(i, axis) for i in joint.inputs]
    if None in sizes:
        return None
    ends = np.cumsum([int(s or 0) for s in sizes])
    found = []
    for node in readers:
        places = _picked(graph, shapes, node, axis, rank, int(ends[-1])) if node.inputs[0] == name else None
        if places is None or not places.size:
            return None
        at = np.unique(np.searchsorted(ends, places, side="right"))
        if len(at) > 1:
            return None
        start = int(ends[at[0] - 1]) if at[0] else 0
        found.append((node, Part(joint, joint.inputs[at[0]], axis, places - start)))
    return found


def part_of(graph: Graph, shapes: Shapes, node: Node) -> Part | None:
    """What a Gather or a Slice reads of tensors that were joined; ``None`` if it is no part of one of them."""
    joint = graph.producers.get(node.inputs[0])
    if joint is None or joint.op != "Concat" or joint.domain:
        return None
    return next((part for reader, part in parts_of(graph, shapes, joint) or () if reader is node), None)


def _picked(graph: Graph, shapes: Shapes, node: Node, axis: int, rank: int, size: int) -> NDArray[np.int64] | None:
    """Indices along ``axis`` that a node takes, if it takes all there is along the others."""

    def read(name: str) -> NDArray[np.int64] | None:
        return constant(graph, shapes, name)

    if node.domain:
        return None
    if node.op == "Gather" and node.input(1) in graph.parameters and int(node.attr("axis", 0)) % rank == axis:
        indices = read(node.inputs[1])
        return None if indices is None or indices.ndim > 1 else np.where(indices < 0, indices + size, indices)
    taken = spans(node, read, rank) if node.op == "Slice" else None
    if taken is None or [span.axis for span in taken] != [axis] or taken[0].step != 1:
        return None
    return np.asarray(taken[0].picked(size), np.int64)


def rewrite_joint(node: Node, cut: Cut) -> None:
    """Parts of which one has lost channels are read one by one; the node goes."""
    readers = parts_of(cut.graph, cut.known, node)
    if readers is None or not any(cut.changed(i) for i in node.inputs):
        return
    for reader, part in readers:
        places = cut.new_positions(part.source, part.axis)[part.places]
        cut.proto(reader).input[0] = part.source
        if reader.op == "Gather":
            indices = places[places >= 0] if places.ndim else places
            cut.set_constant(reader, 1, indices.astype(cut.graph.array(reader.inputs[1]).dtype))
        else:
            set_bounds(reader, cut, 0, int(places.max()) - int((places >= 0).sum()) + 1, int(places.max()) + 1)
    cut.drop(node)
