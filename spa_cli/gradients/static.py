"""What depends on the sizes of the inputs alone: computed once by onnxruntime, so that no shape is arithmetic in torch.

Branches that such a value decides are taken here too. All of it holds for one choice of input shapes; other shapes are
worked out again.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import helper

from spa_cli.errors import ModelError
from spa_cli.gradients.backend import INSTEAD
from spa_cli.graph.bodies import captured_names
from spa_cli.graph.model import Array, Graph
from spa_cli.graph.view import build
from spa_cli.runtime.probe import probe
from spa_cli.runtime.said import said
from spa_cli.runtime.session import Feeds, open_session

# the sizes of their outputs, and so of all that follows, are not known before the data are
_DATA_SIZED = frozenset({"NonZero", "Unique", "Compress", "NonMaxSuppression", "Loop", "If", "Scan", "StringSplit"})
_RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)


def settle(graph: Graph, weights: frozenset[str], feeds: Feeds) -> tuple[Graph, dict[str, Array]]:
    """The graph without branches that shapes decide, and the values of all tensors that shapes decide.

    ``weights`` are the parameters that count as variable. Only tensors that something variable reads are given.
    """
    switches = {n: np.asarray(feeds[n]) for n in switches_of(feeds)}
    while True:
        static = _static(graph, weights, switches)
        wanted = _boundary(graph, static - switches.keys())
        values = _run(graph, wanted, feeds) | switches
        branches = {
            n.outputs: bool(_constant(graph, values, n.inputs[0]).reshape(-1)[0])
            for n in graph.nodes
            if n.op == "If" and (n.inputs[0] in values or n.inputs[0] in graph.parameters)
        }
        if not branches:
            return graph, values
        graph = _spliced(graph, branches)


def _constant(graph: Graph, values: dict[str, Array], name: str) -> Array:
    return values[name] if name in values else graph.array(name)


def switches_of(feeds: Feeds) -> list[str]:
    """Inputs that are one integer or boolean: they choose what is computed, and count as known."""
    return [n for n, v in sorted(feeds.items()) if np.ndim(v) == 0 and np.asarray(v).dtype.kind in "iub"]


def _static(graph: Graph, weights: frozenset[str], switches: Iterable[str]) -> set[str]:
    static = {name for name in graph.parameters if name not in weights} | set(switches)
    sized_by_data: set[str] = set()
    for node in graph.nodes:
        reads = [i for i in node.inputs if i]
        known = bool(reads) and all(i in static for i in reads) and not node.bodies
        if not known and (node.op in _DATA_SIZED or any(i in sized_by_data for i in reads)):
            sized_by_data.update(node.outputs)
        elif node.op in _RANDOM:
            continue
        elif known or node.op in ("Shape", "Size", "Constant"):
            static.update(o for o in node.outputs if o and o not in weights)
    return static


def _boundary(graph: Graph, static: set[str]) -> list[str]:
    """Computed static tensors that anything but another static node reads."""
    computed = static - graph.parameters.keys()
    read = set(graph.outputs)
    for node in graph.nodes:
        if not all(o in static for o in node.outputs if o):
            read.update(node.inputs)
            read.update(captured_names(node.proto) if node.bodies else ())
    return sorted(computed & read)


def _run(graph: Graph, wanted: list[str], feeds: Feeds) -> dict[str, Array]:
    if not wanted:
        return {}
    model = probe(graph.model, wanted)
    # what is declared of tensors inside may be wrong at these shapes
    del model.graph.value_info[:]
    try:
        session = open_session(model)
        inputs = {i.name for i in session.get_inputs()}
        found = session.run(wanted, {n: v for n, v in feeds.items() if n in inputs})
    except Exception as error:
        raise ModelError(f"onnxruntime can't compute the shapes in the model ({said(error)}); {INSTEAD}") from error
    return dict(zip(wanted, found, strict=True))


def _spliced(graph: Graph, branches: dict[tuple[str, ...], bool]) -> Graph:
    """The graph with the branches that are taken in place of their If nodes."""
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    taken = [branches.get(tuple(n.output)) for n in graph.model.graph.node]
    nodes: list[onnx.NodeProto] = []
    for node, choice in zip(model.graph.node, taken, strict=True):
        if choice is None:
            nodes.append(node)
            continue
        name = "then_branch" if choice else "else_branch"
        (body,) = (a.g for a in node.attribute if a.name == name)
        model.graph.initializer.extend(body.initializer)
        model.graph.sparse_initializer.extend(body.sparse_initializer)
        nodes += [*body.node, *_renames(body, node)]
    copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    return build(model, graph.folder)


def _renames(body: onnx.GraphProto, node: onnx.NodeProto) -> Iterable[onnx.NodeProto]:
    for inner, outer in zip(body.output, node.output, strict=True):
        yield helper.make_node("Identity", [inner.name], [outer])
