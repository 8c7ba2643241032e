"""Layers that share a weight and can be fitted together: siamese branches, a head on several scales."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from spa_cli.graph.bodies import captured_names
from spa_cli.graph.model import Graph, Node
from spa_cli.graph.shapes import Shapes
from spa_cli.obspa.layers import SHARED, Layer, graph_shape
from spa_cli.obspa.parameter_path import ParameterPath


def share(graph: Graph, shapes: Shapes, layers: list[Layer]) -> list[Layer]:
    """The same layers; of those that share a weight each knows the others, or why they can't be fitted together."""
    sharing: dict[str, list[Layer]] = {}
    for layer in layers:
        if layer.unfit == SHARED:
            sharing.setdefault(layer.stored.name, []).append(layer)
    together = {layer.key: layer for members in sharing.values() for layer in _siblings(graph, shapes, members)}
    return [together.get(layer.key, layer) for layer in layers]


def _siblings(graph: Graph, shapes: Shapes, members: list[Layer]) -> list[Layer]:
    """Layers with one weight, if they can be fitted together: nobody else reads it, and none of them another."""
    first = members[0]
    heads = {layer.stored.chain[0] if layer.stored.chain else layer.node for layer in members}
    alike = all(
        (m.node.op, m.terms.w, m.kernel, m.alpha, [n.op for n in m.stored.chain])
        == (first.node.op, first.terms.w, first.kernel, first.alpha, [n.op for n in first.stored.chain])
        for m in members
    )
    plain = not any(
        m.transposed or m.recurrent or m.fused or len(graph.readers(m.operand)) > len(heads) for m in members
    )
    nodes = {layer.node for layer in members}
    if len(members) < 2 or not alike or not plain or heads != {*graph.readers(first.stored.name)}:
        return []
    if any(_above(graph, m.x) & nodes for m in members):
        behind = "its weight is shared by layers that read one another"
        return [replace(m, unfit=behind) for m in members]
    # one bias of theirs is fitted with the weight
    bias = first.around.fixed_bias
    size = graph_shape(graph, shapes, first.operand)
    rows = math.prod(first.matrix(np.empty(size), int(first.node.attr("group", 1))).shape[:2])
    common = (
        all(m.around.fixed_bias == bias and m.around.norm is None and m.beta == first.beta for m in members)
        and bias in graph.parameters
        and graph.shape(bias) == (rows,)
        and {*graph.readers(bias)} == nodes
    )
    keys = tuple(m.key for m in members)
    return [
        replace(
            m,
            unfit="",
            siblings=keys,
            common=common,
            around=replace(m.around, bias=ParameterPath(bias), fixed_bias="") if common else m.around,
        )
        for m in members
    ]


def _above(graph: Graph, name: str) -> set[Node]:
    """The nodes that a tensor comes from."""
    found, stack = set[Node](), [name]
    while stack:
        node = graph.producers.get(stack.pop())
        if node is not None and node not in found:
            found.add(node)
            stack += [*node.inputs, *captured_names(node.proto)]
    return found
