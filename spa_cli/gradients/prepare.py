"""A model made ready for the converter: weights as inputs, shapes as numbers, nothing but what the outputs need."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from spa_cli.gradients.static import settle
from spa_cli.graph.model import Array, Graph, Node
from spa_cli.operators import record_of
from spa_cli.runtime.session import Feeds

_FLOATS = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE}
_INTEGERS = {onnx.TensorProto.INT8, onnx.TensorProto.UINT8, onnx.TensorProto.INT32}


@dataclass(eq=False)
class LightModel:
    """A model for the converter, at one choice of input shapes.

    Its inputs are ``inputs`` (the user's), then ``weights``; its outputs are the wanted tensors, in their order.
    ``nodes``: by the name a node has here, the node it was.
    """

    model: onnx.ModelProto
    inputs: list[str]
    weights: list[str]
    nodes: dict[str, Node] = field(default_factory=dict)


def weights_of(graph: Graph) -> frozenset[str]:
    """Parameters to differentiate by: floating point or quantised, with at least one axis, read as weights."""
    return frozenset(n for n, t in graph.parameters.items() if len(t.dims) and _is_weight(graph, n, t.data_type))


def _is_weight(graph: Graph, name: str, element: int) -> bool:
    readers = graph.consumers.get(name, ())
    places = [(record_of(node), i) for node in readers for i, read in enumerate(node.inputs) if read == name]
    if element in _FLOATS:
        return any(i not in record.settings for record, i in places)
    return element in _INTEGERS and any(i in record.integers for record, i in places)


def single(array: Array) -> Array:
    """Half precision as single: that is what gradients are computed in."""
    half = array.dtype == np.float16 or array.dtype.name == "bfloat16"
    return np.asarray(array, np.float32 if half else array.dtype, order="C")


def leaf(array: Array) -> Array:
    """A weight as a number that can be differentiated by: double stays, all else is single precision."""
    return np.asarray(array, np.float64 if array.dtype == np.float64 else np.float32, order="C")


def prepare(graph: Graph, weights: frozenset[str], outputs: list[str], feeds: Feeds) -> LightModel:
    """``graph`` (with its weights in memory) at the shapes of ``feeds``, as far as ``outputs`` need it."""
    graph, values = settle(graph, weights, feeds)
    nodes = _needed(graph, outputs, values)
    result = LightModel(onnx.ModelProto(ir_version=10), [], [])
    light, constants = result.model.graph, dict[str, Array]()
    light.name = "gradients"

    def read(name: str, fixed: bool) -> str:
        if not name:
            return ""
        if name in values:
            constants.setdefault(name, single(np.asarray(values[name])))
        elif name in graph.parameters and (fixed or name not in weights):
            # also where the same numbers are weights elsewhere: there they are an input
            name, source = f"{name}/fixed", name
            if name not in constants:
                constants[name] = single(graph.array(source))
        elif name in graph.parameters and name not in result.weights:
            result.weights.append(name)
        elif name in graph.inputs and name not in result.inputs:
            result.inputs.append(name)
        return name

    for i, node in enumerate(nodes):
        copy = light.node.add()
        copy.CopyFrom(node.proto)
        copy.name = f"n{i}"
        result.nodes[copy.name] = node
        copy.input[:] = [read(name, at in record_of(node).settings) for at, name in enumerate(node.inputs)]
    for i, name in enumerate(outputs):
        light.node.append(helper.make_node("Identity", [read(name, False)], [f"output/{i}"], name=f"out{i}"))
        light.output.append(helper.make_tensor_value_info(f"output/{i}", onnx.TensorProto.FLOAT, None))
    for name in (*result.inputs, *result.weights):
        array = single(np.asarray(feeds[name])) if name in result.inputs else leaf(graph.array(name))
        element = helper.np_dtype_to_tensor_dtype(array.dtype)
        light.input.append(helper.make_tensor_value_info(name, element, array.shape))
    light.initializer.extend(numpy_helper.from_array(np.asarray(a), n) for n, a in constants.items())
    result.model.opset_import.extend(graph.model.opset_import)
    return result


def _needed(graph: Graph, outputs: list[str], values: dict[str, Any]) -> list[Node]:
    """Nodes on which an output depends, in order, short of what is known."""
    wanted, kept = set(outputs), []
    for node in reversed(graph.nodes):
        if any(o in wanted and o not in values and o not in graph.parameters for o in node.outputs if o):
            kept.append(node)
            wanted.update(i for i in node.inputs if i)
    return kept[::-1]
