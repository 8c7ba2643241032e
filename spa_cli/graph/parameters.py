"""Where a model keeps its parameters: initializers, dense or sparse, and Constant nodes, outside and inside bodies."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import onnx
from onnx import numpy_helper

from spa_cli.graph.bodies import graphs
from spa_cli.graph.model import Array
from spa_cli.graph.sparse import store


def set_parameters(graph: onnx.GraphProto, value_of: Callable[[str], Array | None]) -> None:
    """Give every parameter of ``graph`` and its bodies the value that ``value_of`` has for it (``None``: no change)."""
    for place in graphs(graph):
        for tensor in place.initializer:
            _put(tensor, value_of(tensor.name))
        for sparse in place.sparse_initializer:
            value = value_of(sparse.values.name)
            if value is not None:
                store(sparse, value)
        for node in place.node:
            if node.op_type == "Constant":
                for attribute in node.attribute:
                    if attribute.name == "value":
                        _put(attribute.t, value_of(node.output[0]))


def inner_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Tensors in attributes, and the initializers of bodies."""
    for place in graphs(graph):
        if place is not graph:
            yield from place.initializer
        yield from (a.t for node in place.node for a in node.attribute if a.HasField("t"))


def _put(tensor: onnx.TensorProto, value: Array | None) -> None:
    if value is not None:
        new = numpy_helper.from_array(value, tensor.name)
        new.doc_string = tensor.doc_string
        tensor.CopyFrom(new)
