"""Channel shuffles: Reshape, Transpose, Reshape that reorder the channels of one axis and change nothing else."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spa_cli.graph.model import Graph, Node
from spa_cli.graph.shapes import Shapes


class Shuffle(NamedTuple):
    """``order[j]``: which channel of ``source`` comes ``j``-th behind ``last``; ``inner`` are the nodes before it."""

    source: str
    axis: int
    order: NDArray[np.int64]
    inner: tuple[Node, Node]
    last: Node


def starting_at(graph: Graph, shapes: Shapes, node: Node) -> Shuffle | None:
    """The shuffle whose first Reshape is ``node``; ``None`` if it is none or others read what lies between."""
    turn = _then(graph, node.outputs[0], "Transpose")
    last = _then(graph, turn.outputs[0], "Reshape") if turn else None
    if turn is None or last is None:
        return None
    before, apart, after = (shapes.shape.get(n) for n in (node.inputs[0], node.outputs[0], last.outputs[0]))
    if before is None or apart is None or before != after or None in (*before, *apart) or len(apart) != len(before) + 1:
        return None
    for at, size in enumerate(before):
        groups, each = apart[at : at + 2]
        split = (*before[:at], groups, each, *before[at + 1 :])
        if split != apart or not groups or not each or groups * each != size or 1 in (groups, each):
            continue
        swapped = [*range(at), at + 1, at, *range(at + 2, len(apart))]
        if list(turn.attr("perm") or ()) == swapped:
            order = np.arange(size).reshape(groups, each).T.ravel()
            return Shuffle(node.inputs[0], at, order, (node, turn), last)
    return None


def ending_at(graph: Graph, shapes: Shapes, node: Node) -> Shuffle | None:
    """The shuffle whose last Reshape is ``node``."""
    turn = graph.producers.get(node.inputs[0])
    first = graph.producers.get(turn.inputs[0]) if turn is not None and turn.op == "Transpose" else None
    if first is None or first.op != "Reshape" or first.domain:
        return None
    found = starting_at(graph, shapes, first)
    return found if found is not None and found.last is node else None


def _then(graph: Graph, name: str, op: str) -> Node | None:
    """The node of that operator that alone reads a tensor."""
    node = graph.only_consumer(name)
    return node if node is not None and node.op == op and not node.domain else None
