"""Damage to what a model declares: inputs, outputs, types, versions, functions."""

from __future__ import annotations

from typing import Any

import onnx
from onnx import TensorProto, helper

from fuzz.parts import TYPES, graph_in, names_in, node_in
from fuzz.values import integer, one_of, text


def _info(rng: Any, info: onnx.ValueInfoProto) -> None:
    kind = int(rng.integers(6))
    tensor = info.type.tensor_type
    if kind == 0:
        info.type.Clear()
    elif kind == 1:
        tensor.elem_type = int(one_of(rng, TYPES)) if rng.random() < 0.8 else integer(rng) % 100
    elif kind == 2:
        tensor.ClearField("shape")
    elif kind == 3:
        dim = tensor.shape.dim.add()
        dim.dim_value = integer(rng)
    elif kind == 4 and rng.random() < 0.3:
        info.CopyFrom(helper.make_tensor_sequence_value_info(info.name, TensorProto.FLOAT, [1]))
    else:
        dim = one_of(rng, tensor.shape.dim)
        if rng.random() < 0.3:
            dim.dim_param = text(rng)
        else:
            dim.dim_value = integer(rng, dim.dim_value)


def graph_input(rng: Any, model: onnx.ModelProto) -> None:
    """An input of another shape or type."""
    _info(rng, one_of(rng, model.graph.input))


def graph_output(rng: Any, model: onnx.ModelProto) -> None:
    """An output of another shape or type, of another tensor, missing, or there twice."""
    graph = graph_in(rng, model)
    kind = int(rng.integers(4))
    if kind == 0:
        one_of(rng, graph.output).name = one_of(rng, names_in(graph))
    elif kind == 1:
        graph.output.pop()
    elif kind == 2:
        graph.output.append(one_of(rng, graph.output))
    else:
        _info(rng, one_of(rng, graph.output))


def value_info(rng: Any, model: onnx.ModelProto) -> None:
    """What is declared of a tensor is wrong."""
    graph = graph_in(rng, model)
    node = one_of(rng, graph.node)
    shape = [integer(rng) if rng.random() < 0.5 else 4 for _ in range(int(rng.integers(5)))]
    graph.value_info.append(helper.make_tensor_value_info(one_of(rng, node.output), int(one_of(rng, TYPES)), shape))


def opset(rng: Any, model: onnx.ModelProto) -> None:
    """Another version of the operators, twice a version, or none."""
    kind = int(rng.integers(4))
    if kind == 0:
        model.opset_import.pop()
    elif kind == 1:
        model.opset_import.append(
            helper.make_opsetid(one_of(rng, ["", "ai.onnx", text(rng)]), int(rng.integers(1, 30)))
        )
    elif kind == 2:
        model.ir_version = integer(rng)
    else:
        one = one_of(rng, model.opset_import)
        one.version = int(rng.integers(1, 28)) if rng.random() < 0.7 else integer(rng)


def function(rng: Any, model: onnx.ModelProto) -> None:
    """A node becomes a local function, which may call itself."""
    node = node_in(rng, model)
    if not node.input or not node.output:
        return
    inner = onnx.NodeProto.FromString(node.SerializeToString())
    made = model.functions.add(name="F", domain="local")
    made.input.extend(i for i in dict.fromkeys(node.input) if i)
    made.output.extend(dict.fromkeys(node.output))
    made.node.append(inner)
    made.opset_import.extend(model.opset_import)
    if rng.random() < 0.2:
        made.node.append(helper.make_node("F", list(made.input), ["again"], domain="local"))
    if rng.random() < 0.2:
        made.input.append(text(rng))
    model.opset_import.append(helper.make_opsetid("local", 1))
    del node.attribute[:]
    node.op_type, node.domain = "F", "local"
    node.input[:] = list(made.input)
