"""A graph at one choice of inputs' shapes: sizes that are known, branches that they decide taken.

More operators have an adjoint where sizes are known, and none has one where a body is entered.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import helper, numpy_helper

from spa_cli.adjoints.assemble import keep
from spa_cli.analysis import shapes_at
from spa_cli.derivatives.weights import weights_of
from spa_cli.graph.model import Graph
from spa_cli.graph.shapes import Shapes, constant
from spa_cli.graph.view import build
from spa_cli.operators import record_of
from spa_cli.runtime.session import Feeds


def settle(graph: Graph, feeds: Feeds) -> tuple[Graph, Shapes]:
    """``graph`` for inputs of the shapes of ``feeds`` alone, and the shapes of all its tensors.

    An input that is one integer or boolean chooses what is computed: it becomes a constant.
    """
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    switches = {n: np.asarray(feeds[n]) for n in switches_of(feeds) if n in graph.inputs}
    keep(model.graph.input, [v for v in model.graph.input if v.name not in switches])
    model.graph.initializer.extend(numpy_helper.from_array(v, n) for n, v in switches.items())
    for info in model.graph.input:
        if info.name in feeds:
            dtype = info.type.tensor_type.elem_type
            info.CopyFrom(helper.make_tensor_value_info(info.name, dtype, np.shape(feeds[info.name])))
    # what is declared of tensors inside may be wrong at these shapes
    del model.graph.value_info[:]
    shapes = {n: np.shape(v) for n, v in feeds.items() if n not in switches}
    while True:
        settled = build(model, graph.folder)
        known = shapes_at(settled, shapes)
        values = {n.outputs: constant(settled, known, n.inputs[0]) for n in settled.nodes if n.op == "If"}
        taken = {outputs: bool(value.reshape(-1)[0]) for outputs, value in values.items() if value is not None}
        if taken:
            _splice(model.graph, taken)
        elif not _part(settled):
            return settled, known


def switches_of(feeds: Feeds) -> list[str]:
    """Inputs that are one integer or boolean."""
    return [n for n, v in sorted(feeds.items()) if np.ndim(v) == 0 and np.asarray(v).dtype.kind in "iub"]


def _part(graph: Graph) -> bool:
    """Give settings (a variance) stored once with a weight of equal values (a scale) a constant of their own."""
    weights, found = {*weights_of(graph)}, False
    for node in graph.nodes:
        for at in record_of(node).settings:
            name = node.input(at)
            if name in weights:
                tensor = numpy_helper.from_array(graph.array(name), f"{name}/setting")
                if tensor.name not in {t.name for t in graph.model.graph.initializer}:
                    graph.model.graph.initializer.append(tensor)
                node.proto.input[at] = tensor.name
                found = True
    return found


def _splice(graph: onnx.GraphProto, taken: dict[tuple[str, ...], bool]) -> None:
    """Put the branches that are taken in the place of their If nodes."""
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        choice = taken.get(tuple(node.output)) if node.op_type == "If" else None
        if choice is None:
            nodes.append(node)
            continue
        name = "then_branch" if choice else "else_branch"
        (body,) = (a.g for a in node.attribute if a.name == name)
        graph.initializer.extend(body.initializer)
        graph.sparse_initializer.extend(body.sparse_initializer)
        nodes += [*body.node, *_renames(body, node)]
    copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def _renames(body: onnx.GraphProto, node: onnx.NodeProto) -> Iterable[onnx.NodeProto]:
    for inner, outer in zip(body.output, node.output, strict=True):
        yield helper.make_node("Identity", [inner.name], [outer])
