"""Bodies of control-flow nodes, as the file has them: what is inside them, what they read, names of their own."""

from __future__ import annotations

from collections.abc import Iterator

import onnx


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The bodies of a control-flow node, outermost first, and the bodies inside them."""
    for body in own_bodies(node):
        yield body
        for inner in body.node:
            yield from subgraphs(inner)


def own_bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The bodies of a control-flow node (not those inside them), in the order of its attributes."""
    for attribute in node.attribute:
        yield from (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else []))


def captured_names(node: onnx.NodeProto) -> set[str]:
    """Tensors of the outer graph that the bodies of ``node`` read (over-approximated by name)."""
    return {n for body in subgraphs(node) for inner in body.node for n in inner.input if n} | {
        output.name for body in subgraphs(node) for output in body.output
    }


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and all bodies in it."""
    yield graph
    for node in graph.node:
        yield from subgraphs(node)


def all_nodes(graph: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.NodeProto]:
    """Nodes of a graph, or of a function, and of all bodies in it."""
    for node in graph.node:
        yield node
        for body in own_bodies(node):
            yield from all_nodes(body)


def name_apart(graph: onnx.GraphProto) -> None:
    """Give what the bodies of ``graph`` define names that nothing else in the model has.

    Two branches of an If may each have their own ``w``; the analysis knows tensors by name.
    """
    every = {i for node in all_nodes(graph) for i in (*node.input, *node.output)}
    for place in graphs(graph):
        every.update(_defined(place))
    _name_apart(graph, set(_defined(graph)), every)


def _name_apart(graph: onnx.GraphProto, taken: set[str], every: set[str]) -> None:
    for node in graph.node:
        for body in own_bodies(node):
            rename(body, _clashes(body, taken, every))
            taken.update(_defined(body))
            _name_apart(body, taken, every)


def _defined(graph: onnx.GraphProto) -> list[str]:
    names = [v.name for v in graph.input] + [t.name for t in graph.initializer]
    names += [s.values.name for s in graph.sparse_initializer]
    return names + [o for node in graph.node for o in node.output if o]


def _clashes(body: onnx.GraphProto, taken: set[str], every: set[str]) -> dict[str, str]:
    """New names for what ``body`` defines under names that are ``taken``; ``every``: all names of the model."""
    renamed: dict[str, str] = {}
    for name in _defined(body):
        if name in taken and name not in renamed:
            number = 2
            while f"{name}_{number}" in every:
                number += 1
            renamed[name] = f"{name}_{number}"
            every.add(renamed[name])
    return renamed


def rename(body: onnx.GraphProto, names: dict[str, str]) -> None:
    """Rename tensors in a body and in the bodies inside it."""
    if not names:
        return
    for info in (*body.input, *body.output, *body.value_info, *body.initializer):
        info.name = names.get(info.name, info.name)
    for sparse in body.sparse_initializer:
        sparse.values.name = names.get(sparse.values.name, sparse.values.name)
    for annotation in body.quantization_annotation:
        annotation.tensor_name = names.get(annotation.tensor_name, annotation.tensor_name)
    for node in body.node:
        node.input[:] = [names.get(i, i) for i in node.input]
        node.output[:] = [names.get(o, o) for o in node.output]
        for inner in own_bodies(node):
            own = set(_defined(inner))
            rename(inner, {a: b for a, b in names.items() if a not in own})
