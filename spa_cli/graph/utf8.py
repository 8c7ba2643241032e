"""Names in a file have to be text: protobuf reads any bytes, and gives those instead where they are no UTF-8."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from spa_cli.errors import ModelError
from spa_cli.graph.bodies import graphs, subgraphs


def check_text(model: onnx.ModelProto, name: str) -> None:
    """Raise ModelError if a name anywhere in a model, or what is said beside, is not UTF-8."""
    odd = next((text for text in _texts(model) if not isinstance(text, str)), None)
    if odd is not None:
        raise ModelError(f"'{name}' holds {odd!r} for a name, which is no text in UTF-8; download or export it again")


def _texts(model: onnx.ModelProto) -> Iterator[object]:
    yield from (model.producer_name, model.producer_version, model.domain, model.doc_string)
    yield from (text for entry in model.metadata_props for text in (entry.key, entry.value))
    yield from (o.domain for o in model.opset_import)
    nodes = [node for function in model.functions for node in function.node]
    inside = [graph for node in nodes for graph in subgraphs(node)]
    for function in model.functions:
        yield from (function.name, function.domain, *function.input, *function.output, *function.attribute)
    for graph in (*graphs(model.graph), *inside):
        yield from (graph.name, graph.doc_string)
        nodes += graph.node
        for info in (*graph.input, *graph.output, *graph.value_info):
            yield from (info.name, info.doc_string)
            yield from (d.dim_param for d in info.type.tensor_type.shape.dim)
        for tensor in (*graph.initializer, *(s.values for s in graph.sparse_initializer)):
            yield from (tensor.name, tensor.doc_string, *(t for e in tensor.external_data for t in (e.key, e.value)))
    for node in nodes:
        yield from (node.name, node.op_type, node.domain, node.doc_string, *node.input, *node.output)
        yield from (text for a in node.attribute for text in (a.name, a.ref_attr_name))
