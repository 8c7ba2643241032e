"""Operators that are several in one, written out before anything is differentiated: adjoints are known of the parts.

A fused kernel and its parts round differently; whoever trusts gradients compares the outputs first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import onnx

from spa_cli.adjoints.emitter import Emitter, NoAdjoint, Value
from spa_cli.adjoints.sizes import Sizes, filled
from spa_cli.adjoints.table import MICROSOFT, Call
from spa_cli.graph.model import Graph, Node
from spa_cli.graph.shapes import Shapes, interpret
from spa_cli.graph.view import build

# the outputs of a node, as far as they are known
Parts = Callable[[Call], Sequence[Value | None]]

_PARTS: dict[tuple[str, str], Parts] = {}


def written_out(names: str, domain: str = MICROSOFT) -> Callable[[Parts], Parts]:
    """Decorator: the function below writes these operators out."""

    def add(parts: Parts) -> Parts:
        _PARTS.update({(domain, name): parts for name in names.split()})
        return parts

    return add


def is_written_out(domain: str, op: str) -> bool:
    """Whether an operator is written out."""
    return (domain, op) in _PARTS


@dataclass(frozen=True, eq=False)
class Expanded:
    """A graph in parts. ``declined``: by the label of a node that stays whole the reason. ``integers``: tensors of
    integers that stand for numbers.
    """

    graph: Graph
    shapes: Shapes
    declined: dict[str, str] = field(default_factory=dict)
    integers: frozenset[str] = frozenset()


def expand(graph: Graph, shapes: Shapes, taken: set[str]) -> Expanded:
    """``graph`` with the operators of the table written out; other tensors keep their names. ``taken``: no new ones."""
    if not any(is_written_out(n.domain, n.op) for n in graph.nodes):
        return Expanded(graph, shapes)
    emit, sizes, declined = Emitter(graph.opset, taken), Sizes(graph, shapes), dict[str, str]()
    integers: set[str] = set()
    nodes: list[onnx.NodeProto] = []
    for node in graph.nodes:
        if not is_written_out(node.domain, node.op):
            nodes.append(node.proto)
            continue
        try:
            integers.update(_write(node, emit, sizes, graph))
        except NoAdjoint as reason:
            declined[node.label] = str(reason)
            emit.nodes.clear()
            nodes.append(node.proto)
            continue
        nodes += emit.nodes
        emit.nodes = []
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    model.graph.initializer.extend(emit.constants)
    parts = build(model, graph.folder)
    given = {n: filled(shapes.shape[n]) for n in graph.inputs if n in shapes.shape}
    plain = {n: s for n, s in shapes.shape.items() if n not in graph.parameters and n not in graph.inputs}
    seen = {
        n: (tuple(d or 0 for d in s), shapes.dtype[n]) for n, s in plain.items() if None not in s and n in shapes.dtype
    }
    return Expanded(parts, interpret(parts, given, seen, shapes.rules), declined, frozenset(integers))


def _write(node: Node, emit: Emitter, sizes: Sizes, graph: Graph) -> list[str]:
    """Emit the parts of a node; integers among what they give stand for numbers."""

    def also(_: Node, index: int) -> str:
        raise NoAdjoint(f"its output {index} is not there")

    found = _PARTS[node.domain, node.op](Call(node, emit, sizes, [], also))
    read, integers = {*graph.consumers, *graph.outputs}, []
    for index, name in enumerate(node.outputs):
        value = found[index] if index < len(found) else None
        if value is not None and name:
            emit.ops("Identity", [value], 1, names=[name])
            if value.dtype == onnx.TensorProto.INT32:
                integers += [value.name, name]
        elif name in read:
            raise NoAdjoint(f"its output {index} is used")
    return integers
