"""Which parameters have a gradient that means anything."""

from __future__ import annotations

from onnx import TensorProto

from spa_cli.graph.model import FLOAT_TYPES, QUANTIZED_TYPES, Graph
from spa_cli.operators import record_of

_INTEGERS = QUANTIZED_TYPES | {TensorProto.INT32}


def weights_of(graph: Graph) -> list[str]:
    """Parameters to differentiate by: floating point or quantised, with at least one axis, read as weights."""
    return [n for n, t in graph.parameters.items() if len(t.dims) and _is_weight(graph, n, t.data_type)]


def _is_weight(graph: Graph, name: str, element: int) -> bool:
    readers = graph.consumers.get(name, ())
    places = [(record_of(node), i) for node in readers for i, read in enumerate(node.inputs) if read == name]
    if element in FLOAT_TYPES:
        return any(i not in record.settings for record, i in places)
    return element in _INTEGERS and any(i in record.integers for record, i in places)
