"""Tensors that hold nothing but zeros, however large they are made: initial states, padding."""

from __future__ import annotations

import re

import numpy as np
import onnx
from onnx import numpy_helper

from spa_cli.graph.model import Graph, Node

_INTEGERS = (onnx.TensorProto.INT32, onnx.TensorProto.INT64)
# what these give of zeros is zero; the other inputs are sizes and positions
_MOVES = frozenset(
    re.findall(r"\w+", "Cast Expand Flatten Gather Identity Reshape Slice Split Squeeze Tile Transpose Unsqueeze")
)


def only_zeros(graph: Graph, name: str) -> bool:
    """Whether every element is zero, whatever sizes the inputs have."""
    if name in graph.parameters:
        return not np.any(graph.array(name))
    node = graph.producers.get(name)
    if node is None or node.domain:
        return False
    if node.op == "ConstantOfShape":
        return not np.any(fill_of(node))
    if node.op == "Concat":
        return all(only_zeros(graph, i) for i in node.inputs)
    if node.op == "Mul":
        # of integers: zero times infinity is not zero
        return any(_integers(graph, i) and only_zeros(graph, i) for i in node.inputs)
    return node.op in _MOVES and only_zeros(graph, node.inputs[0])


def _integers(graph: Graph, name: str) -> bool:
    return name in graph.parameters and graph.parameters[name].data_type in _INTEGERS


def fill_of(node: Node) -> float:
    """The one value that a ConstantOfShape repeats."""
    fill = next((a.t for a in node.proto.attribute if a.name == "value"), None)
    return 0.0 if fill is None else float(numpy_helper.to_array(fill).reshape(-1)[0])
