"""Which tensors depend on the wanted ones through derivatives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx
from onnx import TensorProto

from spa_cli.adjoints.table import record_of
from spa_cli.graph.model import FLOAT_TYPES, Graph, Node
from spa_cli.graph.shapes import Shapes

# indices, counts and masks
_NEVER = frozenset({TensorProto.INT64, TensorProto.BOOL, TensorProto.STRING})
_PLAIN = FLOAT_TYPES | _NEVER


class Flow:
    """One walk forward over a graph."""

    def __init__(
        self, graph: Graph, shapes: Shapes, wanted: Iterable[str], integers: frozenset[str] = frozenset()
    ) -> None:
        self._dtype = shapes.dtype
        self._reached = set(wanted)
        # integers that stand for numbers: those that are wanted do
        self._quantised = {n for n in self._reached if self._dtype.get(n, TensorProto.FLOAT) not in _PLAIN} | integers
        for node in graph.nodes:
            self._mark(node)
            if self.inputs(node):
                self._reached.update(o for o in node.outputs if o and self.carries(o))

    def reaches(self, name: str) -> bool:
        """Whether a tensor is a wanted one or depends on one."""
        return name in self._reached and self.carries(name)

    def carries(self, name: str) -> bool:
        """Whether a tensor holds numbers: floating point, or integers that stand for such."""
        return self._dtype.get(name, TensorProto.FLOAT) in FLOAT_TYPES or name in self._quantised

    def inputs(self, node: Node) -> list[tuple[int, str]]:
        """Inputs in which a gradient is wanted; tensors that bodies read have the index -1."""
        record = record_of(node)
        own = [(i, n) for i, n in enumerate(node.inputs) if record is None or record.differentiable(i)]
        inner = [(-1, name) for body in node.bodies for name in captured(body.proto)]
        return [(i, name) for i, name in own + inner if self.reaches(name)]

    def _mark(self, node: Node) -> None:
        record = record_of(node)
        if record is None or record.quantises or any(i in self._quantised for i in node.inputs):
            integers = (o for o in node.outputs if self._dtype.get(o, TensorProto.FLOAT) not in FLOAT_TYPES)
            self._quantised.update(o for o in integers if self._dtype[o] not in _NEVER)


def captured(graph: onnx.GraphProto) -> Iterator[str]:
    """Names that a body may read from around it."""
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from captured(body)
    yield from (output.name for output in graph.output)
