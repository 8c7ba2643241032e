"""Building the view of a model. Reading rests on onnx-graphsurgeon (attribute values, topological order)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

import onnx
import onnx_graphsurgeon as gs
from onnx_graphsurgeon.logger import G_LOGGER
from onnx_graphsurgeon.util.exception import OnnxGraphSurgeonException

from spa_cli.errors import ModelError
from spa_cli.graph.bodies import own_bodies
from spa_cli.graph.head_sizes import with_head_sizes
from spa_cli.graph.model import Body, Graph, Node
from spa_cli.graph.sparse import dense

# graphsurgeon prints its own remarks (bfloat16, unnamed nodes) to stdout; ours is a report, theirs would break --json
G_LOGGER.severity = G_LOGGER.CRITICAL


def build(model: onnx.ModelProto, folder: str) -> Graph:
    """The view of ``model``; ``folder`` is where its external data lies (``""`` for none)."""
    graph = model.graph
    nodes = _nodes(model, graph)
    every = list(flattened(nodes))
    plain = {t.name: t for t in graph.initializer} | _constants(nodes)
    hidden = {s.values.name: dense(s) for s in graph.sparse_initializer}
    for body in bodies(every):
        hidden.update({t.name: t for t in body.proto.initializer} | _constants(body.nodes))
        hidden.update({s.values.name: dense(s) for s in body.proto.sparse_initializer})
    consumers: dict[str, list[Node]] = defaultdict(list)
    for node in every:
        for name in (*node.inputs, *(o for body in node.bodies for o in body.outputs)):
            consumers[name].append(node)
    parameters = plain | hidden
    found = Graph(
        model=model,
        folder=folder,
        nodes=nodes,
        all_nodes=every,
        parameters=parameters,
        hidden=frozenset(hidden),
        inputs={v.name: v for v in graph.input if v.name not in parameters},
        outputs=[v.name for v in graph.output],
        consumers=dict(consumers),
        producers={name: node for node in every for name in node.outputs if name},
    )
    return replace(found, inputs=with_head_sizes(found))


def bodies(nodes: Iterable[Node]) -> Iterator[Body]:
    """The bodies of ``nodes`` (not those inside them)."""
    return (body for node in nodes for body in node.bodies)


def flattened(nodes: Iterable[Node]) -> Iterator[Node]:
    """Nodes and those inside them, each before the node it belongs to."""
    for node in nodes:
        for body in node.bodies:
            yield from flattened(body.nodes)
        yield node


def _constants(nodes: Iterable[Node]) -> dict[str, onnx.TensorProto]:
    return {
        node.outputs[0]: attribute.t
        for node in nodes
        if node.op == "Constant"
        for attribute in node.proto.attribute
        if attribute.name == "value"
    }


def _nodes(model: onnx.ModelProto, graph: onnx.GraphProto) -> list[Node]:
    protos = list(graph.node)
    surgeon = gs.import_onnx(_importable(model, graph))
    proto_of = {id(node): proto for node, proto in zip(surgeon.nodes, protos, strict=True)}
    if not _ordered(graph):
        try:
            surgeon.toposort(recurse_subgraphs=False, mode="nodes")
        except OnnxGraphSurgeonException as error:
            # onnxruntime takes some: those whose nodes it leaves out
            raise ModelError(
                f"nodes of the graph '{graph.name}' read each other's results in a circle; export the model again"
            ) from error
    versions = {_domain(o.domain): o.version for o in model.opset_import}
    return [
        Node(
            op=node.op,
            domain=_domain(node.domain or ""),
            name=node.name,
            attrs=dict(node.attrs),
            inputs=tuple(proto_of[id(node)].input),
            outputs=tuple(proto_of[id(node)].output),
            version=versions.get(_domain(node.domain or ""), 1),
            proto=proto_of[id(node)],
            bodies=tuple(_body(model, b) for b in own_bodies(proto_of[id(node)])),
        )
        for node in surgeon.nodes
    ]


def _body(model: onnx.ModelProto, graph: onnx.GraphProto) -> Body:
    nodes = tuple(_nodes(model, graph))
    return Body(nodes, tuple(v.name for v in graph.input), tuple(v.name for v in graph.output), graph)


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _ordered(graph: onnx.GraphProto) -> bool:
    later = {name for node in graph.node for name in node.output if name}
    for node in graph.node:
        if any(name in later for name in node.input):
            return False
        later.difference_update(node.output)
    return True


def _importable(model: onnx.ModelProto, graph: onnx.GraphProto) -> onnx.ModelProto:
    """A model that graphsurgeon can import: nodes, and no weights.

    Its importer decodes every string attribute as UTF-8 (custom operators carry binary blobs there) and follows
    functions and bodies, which this view doesn't need.
    """
    light = onnx.ModelProto(ir_version=model.ir_version)
    light.opset_import.extend(model.opset_import)
    for node in graph.node:
        copy = light.graph.node.add()
        copy.input.extend(node.input)
        copy.output.extend(node.output)
        copy.op_type, copy.domain, copy.name = node.op_type, node.domain, node.name
        for attribute in node.attribute:
            if not all(map(_is_text, (attribute.s, *attribute.strings))):
                continue
            if attribute.type in _PLAIN_ATTRIBUTES:
                copy.attribute.append(attribute)
    return light


_PLAIN_ATTRIBUTES = frozenset(
    {
        onnx.AttributeProto.FLOAT,
        onnx.AttributeProto.INT,
        onnx.AttributeProto.STRING,
        onnx.AttributeProto.FLOATS,
        onnx.AttributeProto.INTS,
        onnx.AttributeProto.STRINGS,
    }
)


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
