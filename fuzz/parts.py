"""A part of a model to be damaged, and damage to one tensor."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from fuzz.values import integer, number, one_of
from tests.builders import graphs_of

TYPES = [v for v in TensorProto.DataType.values() if v]


def graph_in(rng: Any, model: onnx.ModelProto) -> onnx.GraphProto:
    """The main graph mostly; now and then a body."""
    return one_of(rng, graphs_of(model.graph)) if rng.random() < 0.3 else model.graph


def node_in(rng: Any, model: onnx.ModelProto) -> onnx.NodeProto:
    """A node of such a graph."""
    return one_of(rng, graph_in(rng, model).node)


def names_in(graph: onnx.GraphProto) -> list[str]:
    """Names of its tensors, and two that none has."""
    of_nodes = [n for node in graph.node for n in (*node.input, *node.output)]
    return [*of_nodes, *(t.name for t in graph.initializer), *(v.name for v in graph.input), "", "nothing"]


def spoil_tensor(rng: Any, tensor: TensorProto) -> None:
    """Its dims, its type, its bytes, a field of it, or its values."""
    kind = int(rng.integers(9))
    if kind == 0 and tensor.dims:
        at = int(rng.integers(len(tensor.dims)))
        tensor.dims[at] = integer(rng, tensor.dims[at])
    elif kind == 1:
        tensor.dims[:] = tensor.dims[:-1] if rng.random() < 0.5 else [*tensor.dims, integer(rng)]
    elif kind == 2:
        tensor.data_type = int(one_of(rng, TYPES)) if rng.random() < 0.8 else integer(rng) % 100
    elif kind == 3:
        tensor.raw_data = tensor.raw_data[: int(rng.integers(len(tensor.raw_data) + 1))]
    elif kind == 4:
        tensor.ClearField(one_of(rng, ["raw_data", "float_data", "int64_data", "dims", "name", "data_type"]))
    else:
        spoil_values(rng, tensor)


def spoil_values(rng: Any, tensor: TensorProto) -> None:
    """Sizes, positions or weights that are others, of the same shape or of another one that is well formed."""
    array = numpy_helper.to_array(tensor).copy()
    if rng.random() < 0.3:
        shape = [max(0, int(d) + int(rng.integers(-1, 2))) for d in array.shape]
        array = np.resize(array, shape) if array.size else np.zeros(shape, array.dtype)
    elif rng.random() < 0.2:
        array = array[None] if rng.random() < 0.5 else array.reshape(-1)
    flat = array.reshape(-1)
    if flat.size and rng.random() < 0.8:
        at = int(rng.integers(flat.size))
        with np.errstate(all="ignore"):
            flat[at] = np.array(integer(rng) if array.dtype.kind in "iu" else number(rng)).astype(array.dtype)
    name = tensor.name
    tensor.CopyFrom(numpy_helper.from_array(array, name))
