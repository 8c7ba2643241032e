"""Damage to initializers: their values, where they come from, where their bytes lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fuzz.parts import graph_in, spoil_tensor, spoil_values
from fuzz.values import integer, one_of, text


def initializer(rng: Any, model: onnx.ModelProto) -> None:
    """An initializer of other dims, another type, other values, or fewer bytes."""
    spoil_tensor(rng, one_of(rng, graph_in(rng, model).initializer))


def sizes(rng: Any, model: onnx.ModelProto) -> None:
    """A constant of integers says something else."""
    graph = graph_in(rng, model)
    whole = [t for t in graph.initializer if t.data_type in (TensorProto.INT64, TensorProto.INT32)]
    whole += [a.t for n in graph.node for a in n.attribute if a.type == a.TENSOR and n.op_type == "Constant"]
    spoil_values(rng, one_of(rng, whole))


def initializer_gone(rng: Any, model: onnx.ModelProto) -> None:
    """An initializer is missing, or there twice."""
    graph = graph_in(rng, model)
    one = one_of(rng, graph.initializer)
    if rng.random() < 0.5:
        graph.initializer.remove(one)
    else:
        graph.initializer.append(one)


def initializer_listed(rng: Any, model: onnx.ModelProto) -> None:
    """An initializer is an input, too, with its own shape or another one."""
    one = one_of(rng, model.graph.initializer)
    shape = list(one.dims) if rng.random() < 0.5 else [integer(rng) for _ in one.dims]
    model.graph.input.append(helper.make_tensor_value_info(one.name, one.data_type, shape))


def constant_node(rng: Any, model: onnx.ModelProto) -> None:
    """An initializer comes from a Constant instead, in one of the ways that has."""
    graph = graph_in(rng, model)
    one = one_of(rng, graph.initializer)
    array = numpy_helper.to_array(one)
    ways = {"value": one, "value_ints": [1, 2], "value_float": 1.0, "value_int": integer(rng), "value_strings": ["a"]}
    way = one_of(rng, ["value", "value", *ways]) if array.size < 10**6 else "value"
    node = helper.make_node("Constant", [], [one.name], **{way: ways[way]})
    graph.initializer.remove(one)
    graph.node.insert(0, node)


def sparse(rng: Any, model: onnx.ModelProto) -> None:
    """An initializer is sparse; its indices may lie outside."""
    one = one_of(rng, model.graph.initializer)
    array = numpy_helper.to_array(one)
    at = np.flatnonzero(array)
    if len(at) and rng.random() < 0.6:
        at[int(rng.integers(len(at)))] = integer(rng)
    values = numpy_helper.from_array(array.reshape(-1)[np.flatnonzero(array)], one.name)
    made = onnx.SparseTensorProto(values=values, indices=numpy_helper.from_array(at), dims=one.dims)
    if rng.random() < 0.3:
        made.dims[0] = integer(rng, made.dims[0])
    model.graph.initializer.remove(one)
    model.graph.sparse_initializer.append(made)


def external(rng: Any, model: onnx.ModelProto) -> None:
    """The bytes of an initializer are said to lie in a file, somewhere."""
    one = one_of(rng, model.graph.initializer)
    one.data_location = TensorProto.EXTERNAL
    del one.external_data[:]
    places = ("data.bin", "missing.bin", "../data.bin", "/etc/passwd", "/dev/zero", "", ".", "model.onnx", text(rng))
    entries = {"location": one_of(rng, places)}
    if rng.random() < 0.8:
        entries["offset"] = str(integer(rng))
    if rng.random() < 0.8:
        entries["length"] = str(integer(rng, len(one.raw_data)))
    if rng.random() < 0.1:
        entries[one_of(rng, list(entries))] = text(rng)
    for key, value in entries.items():
        one.external_data.add(key=key, value=value)
    if rng.random() < 0.7:
        one.ClearField("raw_data")
