"""Damage to nodes: attributes, operators, what they read and give, their order."""

from __future__ import annotations

import contextlib
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, helper, numpy_helper

from fuzz.parts import graph_in, names_in, node_in, spoil_tensor
from fuzz.values import integer, number, one_of, text


@cache
def _operators() -> list[tuple[str, str]]:
    from spa_cli.operators import records

    return sorted({*records(), *((s.domain, s.name) for s in onnx.defs.get_all_schemas())})


def attribute_value(rng: Any, model: onnx.ModelProto) -> None:
    """An attribute says something else."""
    one = one_of(rng, node_in(rng, model).attribute)
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
        spoil_tensor(rng, one.t)


def attribute_gone(rng: Any, model: onnx.ModelProto) -> None:
    """An attribute is missing."""
    node = node_in(rng, model)
    node.attribute.remove(one_of(rng, node.attribute))


def attribute_type(rng: Any, model: onnx.ModelProto) -> None:
    """An attribute is of another type."""
    node = node_in(rng, model)
    old = one_of(rng, node.attribute)
    made = _any_attribute(rng, old.name)
    if rng.random() < 0.3:
        old.type = one_of(rng, AttributeProto.AttributeType.values())
    else:
        old.CopyFrom(made)


def attribute_added(rng: Any, model: onnx.ModelProto) -> None:
    """An attribute that the node did not have: one of its operator, of another, or twice the same."""
    node = node_in(rng, model)
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
    node = node_in(rng, model)
    domain, name = one_of(rng, _operators())
    if rng.random() < 0.6:
        domain, name = one_of(rng, [o for o in _operators() if o[0] in ("", "com.microsoft")])
    node.op_type, node.domain = name, domain
    if domain and domain not in {o.domain for o in model.opset_import}:
        model.opset_import.append(helper.make_opsetid(domain, 1))


def strange_operator(rng: Any, model: onnx.ModelProto) -> None:
    """An operator or a domain that nobody knows."""
    node = node_in(rng, model)
    if rng.random() < 0.5:
        node.op_type = text(rng)
    else:
        node.domain = text(rng)


def input_rewired(rng: Any, model: onnx.ModelProto) -> None:
    """A node reads another tensor, mostly one that is there by then; now and then none, or one that does not exist."""
    graph = graph_in(rng, model)
    at = int(rng.integers(len(graph.node)))
    node = graph.node[at]
    before = [*(o for n in graph.node[:at] for o in n.output), *(t.name for t in graph.initializer)]
    before += [v.name for v in graph.input]
    node.input[int(rng.integers(len(node.input)))] = one_of(rng, before if rng.random() < 0.8 else names_in(graph))


def input_count(rng: Any, model: onnx.ModelProto) -> None:
    """A node has more inputs, or fewer."""
    graph = graph_in(rng, model)
    node = one_of(rng, graph.node)
    if rng.random() < 0.5:
        del node.input[int(rng.integers(len(node.input))) :]
    else:
        node.input.append(one_of(rng, names_in(graph)))


def inputs_swapped(rng: Any, model: onnx.ModelProto) -> None:
    """Inputs in another order."""
    node = node_in(rng, model)
    node.input[:] = [node.input[i] for i in rng.permutation(len(node.input))]


def outputs_changed(rng: Any, model: onnx.ModelProto) -> None:
    """A node gives more, less, or what another gives."""
    graph = graph_in(rng, model)
    node = one_of(rng, graph.node)
    kind = int(rng.integers(4))
    if kind == 0:
        node.output.pop()
    elif kind == 1:
        node.output.append(one_of(rng, [*names_in(graph), "more"]))
    elif kind == 2:
        node.output[int(rng.integers(len(node.output)))] = one_of(rng, names_in(graph))
    else:
        node.output[0] = text(rng)


def node_gone(rng: Any, model: onnx.ModelProto) -> None:
    """A node is missing."""
    graph = graph_in(rng, model)
    graph.node.remove(one_of(rng, graph.node))


def node_twice(rng: Any, model: onnx.ModelProto) -> None:
    """A node is there twice."""
    graph = graph_in(rng, model)
    graph.node.append(one_of(rng, graph.node))


def node_order(rng: Any, model: onnx.ModelProto) -> None:
    """Nodes in another order."""
    graph = graph_in(rng, model)
    nodes = [onnx.NodeProto.FromString(n.SerializeToString()) for n in graph.node]
    del graph.node[:]
    graph.node.extend(nodes[i] for i in rng.permutation(len(nodes)))


def node_name(rng: Any, model: onnx.ModelProto) -> None:
    """A node is called otherwise, or like another one."""
    node_in(rng, model).name = one_of(rng, [text(rng), node_in(rng, model).name])
