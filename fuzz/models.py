"""Damage to a model that keeps it a protobuf message: most of it survives the first look at the file."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from fuzz.values import integer, number, one_of, text
from tests.builders import graphs_of

Damage = Callable[[Any, onnx.ModelProto], object]
_TYPES = [v for v in TensorProto.DataType.values() if v]


def damage(rng: Any, model: onnx.ModelProto) -> list[str]:
    """Damage a model in place, once or a few times; the names of what was done."""
    done = []
    for _ in range(int(rng.choice([1, 1, 1, 2, 3, 5]))):
        how = one_of(rng, DAMAGES)
        try:
            how(rng, model)
        except Exception:  # noqa: BLE001 - there is nothing of that kind, or what was damaged before does not bear it
            continue
        done.append(how.__name__)
    return done


def _graph(rng: Any, model: onnx.ModelProto) -> onnx.GraphProto:
    """The main graph mostly; now and then a body."""
    return one_of(rng, graphs_of(model.graph)) if rng.random() < 0.3 else model.graph


def _node(rng: Any, model: onnx.ModelProto) -> onnx.NodeProto:
    return one_of(rng, _graph(rng, model).node)


def _names(graph: onnx.GraphProto) -> list[str]:
    of_nodes = [n for node in graph.node for n in (*node.input, *node.output)]
    return [*of_nodes, *(t.name for t in graph.initializer), *(v.name for v in graph.input), "", "nothing"]


@cache
def _operators() -> list[tuple[str, str]]:
    from spa_cli.operators import records

    return sorted({*records(), *((s.domain, s.name) for s in onnx.defs.get_all_schemas())})


# -- nodes ------------------------------------------------------------------------------------------------------------


def attribute_value(rng: Any, model: onnx.ModelProto) -> None:
    """An attribute says something else."""
    one = one_of(rng, _node(rng, model).attribute)
    if one.type == AttributeProto.INT:
        one.i = integer(rng, one.i)
    elif one.type == AttributeProto.FLOAT:
        one.f = number(rng)
    elif one.type == AttributeProto.STRING:
        one.s = text(rng).encode() if rng.random() < 0.8 else rng.bytes(4)
    elif one.type == AttributeProto.INTS:
        kind = int(rng.integers(3))
        if kind == 0 and one.ints:
            at = int(rng.integers(len(one.ints)))
            one.ints[at] = integer(rng, one.ints[at])
        elif kind == 1 and one.ints:
            one.ints.pop()
        else:
            one.ints.append(integer(rng))
    elif one.type == AttributeProto.TENSOR:
        _tensor(rng, one.t)


def attribute_gone(rng: Any, model: onnx.ModelProto) -> None:
    """An attribute is missing."""
    node = _node(rng, model)
    node.attribute.remove(one_of(rng, node.attribute))


def attribute_type(rng: Any, model: onnx.ModelProto) -> None:
    """An attribute is of another type."""
    node = _node(rng, model)
    old = one_of(rng, node.attribute)
    made = _any_attribute(rng, old.name)
    if rng.random() < 0.3:
        old.type = one_of(rng, AttributeProto.AttributeType.values())
    else:
        old.CopyFrom(made)


def attribute_added(rng: Any, model: onnx.ModelProto) -> None:
    """An attribute that the node did not have: one of its operator, of another, or twice the same."""
    node = _node(rng, model)
    known: list[str] = []
    with contextlib.suppress(onnx.defs.SchemaError):
        known += onnx.defs.get_schema(node.op_type, 18, node.domain).attributes
    node.attribute.append(
        _any_attribute(rng, one_of(rng, [*known, "axis", "axes", "perm", "group", "to", "kernel_shape"]))
    )


def _any_attribute(rng: Any, name: str) -> AttributeProto:
    values = (
        integer(rng),
        number(rng),
        text(rng),
        [integer(rng) for _ in range(int(rng.integers(1, 5)))],
        [0, 1],
        [1, 1, 1, 1],
        [number(rng)],
        [text(rng)],
        numpy_helper.from_array(np.array([integer(rng)], np.int64)),
        helper.make_graph([], "g", [], []),
    )
    return helper.make_attribute(name, values[int(rng.integers(len(values)))])


def operator(rng: Any, model: onnx.ModelProto) -> None:
    """A node is of another operator."""
    node = _node(rng, model)
    domain, name = one_of(rng, _operators())
    if rng.random() < 0.6:
        domain, name = one_of(rng, [o for o in _operators() if o[0] in ("", "com.microsoft")])
    node.op_type, node.domain = name, domain
    if domain and domain not in {o.domain for o in model.opset_import}:
        model.opset_import.append(helper.make_opsetid(domain, 1))


def strange_operator(rng: Any, model: onnx.ModelProto) -> None:
    """An operator or a domain that nobody knows."""
    node = _node(rng, model)
    if rng.random() < 0.5:
        node.op_type = text(rng)
    else:
        node.domain = text(rng)


def input_rewired(rng: Any, model: onnx.ModelProto) -> None:
    """A node reads another tensor, mostly one that is there by then; now and then none, or one that does not exist."""
    graph = _graph(rng, model)
    at = int(rng.integers(len(graph.node)))
    node = graph.node[at]
    before = [*(o for n in graph.node[:at] for o in n.output), *(t.name for t in graph.initializer)]
    before += [v.name for v in graph.input]
    node.input[int(rng.integers(len(node.input)))] = one_of(rng, before if rng.random() < 0.8 else _names(graph))


def input_count(rng: Any, model: onnx.ModelProto) -> None:
    """A node has more inputs, or fewer."""
    graph = _graph(rng, model)
    node = one_of(rng, graph.node)
    if rng.random() < 0.5:
        del node.input[int(rng.integers(len(node.input))) :]
    else:
        node.input.append(one_of(rng, _names(graph)))


def inputs_swapped(rng: Any, model: onnx.ModelProto) -> None:
    """Inputs in another order."""
    node = _node(rng, model)
    node.input[:] = [node.input[i] for i in rng.permutation(len(node.input))]


def outputs_changed(rng: Any, model: onnx.ModelProto) -> None:
    """A node gives more, less, or what another gives."""
    graph = _graph(rng, model)
    node = one_of(rng, graph.node)
    kind = int(rng.integers(4))
    if kind == 0:
        node.output.pop()
    elif kind == 1:
        node.output.append(one_of(rng, [*_names(graph), "more"]))
    elif kind == 2:
        node.output[int(rng.integers(len(node.output)))] = one_of(rng, _names(graph))
    else:
        node.output[0] = text(rng)


def node_gone(rng: Any, model: onnx.ModelProto) -> None:
    """A node is missing."""
    graph = _graph(rng, model)
    graph.node.remove(one_of(rng, graph.node))


def node_twice(rng: Any, model: onnx.ModelProto) -> None:
    """A node is there twice."""
    graph = _graph(rng, model)
    graph.node.append(one_of(rng, graph.node))


def node_order(rng: Any, model: onnx.ModelProto) -> None:
    """Nodes in another order."""
    graph = _graph(rng, model)
    nodes = [onnx.NodeProto.FromString(n.SerializeToString()) for n in graph.node]
    del graph.node[:]
    graph.node.extend(nodes[i] for i in rng.permutation(len(nodes)))


def node_name(rng: Any, model: onnx.ModelProto) -> None:
    """A node is called otherwise, or like another one."""
    _node(rng, model).name = one_of(rng, [text(rng), _node(rng, model).name])


# -- tensors ----------------------------------------------------------------------------------------------------------


def _tensor(rng: Any, tensor: TensorProto) -> None:
    kind = int(rng.integers(9))
    if kind == 0 and tensor.dims:
        at = int(rng.integers(len(tensor.dims)))
        tensor.dims[at] = integer(rng, tensor.dims[at])
    elif kind == 1:
        tensor.dims[:] = tensor.dims[:-1] if rng.random() < 0.5 else [*tensor.dims, integer(rng)]
    elif kind == 2:
        tensor.data_type = int(one_of(rng, _TYPES)) if rng.random() < 0.8 else integer(rng) % 100
    elif kind == 3:
        tensor.raw_data = tensor.raw_data[: int(rng.integers(len(tensor.raw_data) + 1))]
    elif kind == 4:
        tensor.ClearField(one_of(rng, ["raw_data", "float_data", "int64_data", "dims", "name", "data_type"]))
    else:
        _values(rng, tensor)


def _values(rng: Any, tensor: TensorProto) -> None:
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


def initializer(rng: Any, model: onnx.ModelProto) -> None:
    """An initializer of other dims, another type, other values, or fewer bytes."""
    _tensor(rng, one_of(rng, _graph(rng, model).initializer))


def sizes(rng: Any, model: onnx.ModelProto) -> None:
    """A constant of integers says something else."""
    graph = _graph(rng, model)
    whole = [t for t in graph.initializer if t.data_type in (TensorProto.INT64, TensorProto.INT32)]
    whole += [a.t for n in graph.node for a in n.attribute if a.type == a.TENSOR and n.op_type == "Constant"]
    _values(rng, one_of(rng, whole))


def initializer_gone(rng: Any, model: onnx.ModelProto) -> None:
    """An initializer is missing, or there twice."""
    graph = _graph(rng, model)
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
    graph = _graph(rng, model)
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


# -- what is declared -------------------------------------------------------------------------------------------------


def _info(rng: Any, info: onnx.ValueInfoProto) -> None:
    kind = int(rng.integers(6))
    tensor = info.type.tensor_type
    if kind == 0:
        info.type.Clear()
    elif kind == 1:
        tensor.elem_type = int(one_of(rng, _TYPES)) if rng.random() < 0.8 else integer(rng) % 100
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
    graph = _graph(rng, model)
    kind = int(rng.integers(4))
    if kind == 0:
        one_of(rng, graph.output).name = one_of(rng, _names(graph))
    elif kind == 1:
        graph.output.pop()
    elif kind == 2:
        graph.output.append(one_of(rng, graph.output))
    else:
        _info(rng, one_of(rng, graph.output))


def value_info(rng: Any, model: onnx.ModelProto) -> None:
    """What is declared of a tensor is wrong."""
    graph = _graph(rng, model)
    node = one_of(rng, graph.node)
    shape = [integer(rng) if rng.random() < 0.5 else 4 for _ in range(int(rng.integers(5)))]
    graph.value_info.append(helper.make_tensor_value_info(one_of(rng, node.output), int(one_of(rng, _TYPES)), shape))


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
    node = _node(rng, model)
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


DAMAGES: tuple[Damage, ...] = (
    *(attribute_value, attribute_value, attribute_gone, attribute_type, attribute_added, operator, operator),
    *(strange_operator, input_rewired, input_rewired, input_count, inputs_swapped, outputs_changed, node_gone),
    *(node_twice, node_order, node_name, initializer, initializer, sizes, sizes, initializer_gone, initializer_listed),
    *(constant_node, sparse, external, graph_input, graph_input, graph_output, value_info, opset, function),
)
