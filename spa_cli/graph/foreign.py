"""Operators that ONNX has no schema for: plugins, contributed and custom ones, in whatever domain a file puts them."""

from __future__ import annotations

import onnx

from spa_cli.graph.bodies import all_nodes, graphs

_APART = "spa.foreign"


def is_foreign(domain: str, op: str, version: int = 2**31 - 1) -> bool:
    """Whether onnx knows no operator of that name, in that version of its domain."""
    return not onnx.defs.has(op, version, "" if domain == "ai.onnx" else domain)


def foreign_operators(model: onnx.ModelProto) -> list[str]:
    """All that there are, as ``domain::Op``."""
    versions = _versions(model)
    return list(
        dict.fromkeys(
            f"{node.domain}::{node.op_type}" if node.domain else node.op_type
            for node in all_nodes(model.graph)
            if _minded(node, versions) or is_foreign(node.domain, node.op_type)
        )
    )


def set_apart(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy to check the rest of a model by.

    Those of its operators that are in the standard domain, where nobody may define any, or in one that is not imported,
    are in a domain of their own (exporters write TensorRT's plugins like that); and no shape is missing.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    versions = _versions(model)
    for node in all_nodes(copy.graph):
        if _minded(node, versions):
            node.domain = _APART
    for graph in graphs(copy.graph):
        for info in (*graph.value_info, *graph.output):
            # what a plugin gives is often declared without
            if info.type.HasField("tensor_type"):
                info.type.tensor_type.shape.SetInParent()
    copy.opset_import.append(onnx.helper.make_opsetid(_APART, 1))
    return copy


def _versions(model: onnx.ModelProto) -> dict[str, int]:
    # (onnx counts in 32 bits)
    return {
        "" if o.domain == "ai.onnx" else o.domain: max(min(o.version, 2**31 - 1), -(2**31)) for o in model.opset_import
    }


def _minded(node: onnx.NodeProto, versions: dict[str, int]) -> bool:
    domain = "" if node.domain == "ai.onnx" else node.domain
    return domain not in versions or (not domain and is_foreign(domain, node.op_type, versions[domain]))
