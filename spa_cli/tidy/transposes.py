"""Transpositions of what was transposed before."""

from __future__ import annotations

import onnx
from onnx import helper

from spa_cli.tidy.draft import STANDARD, Draft, attribute


def join_transposes(draft: Draft) -> int:
    """A Transpose behind another becomes one of what that read; inverse ones, which do nothing then, are ``idle``."""
    joined = 0
    for node in draft.graph.node:
        before = draft.producers.get(node.input[0]) if _is_transpose(node) else None
        if before is None or not _is_transpose(before):
            continue
        first, second = _order(before, draft), _order(node, draft)
        # of other lengths they are of a file that does not run
        if first is None or second is None or sorted(first) != sorted(second):
            continue
        node.input[0] = before.input[0]
        del node.attribute[:]
        node.attribute.append(helper.make_attribute("perm", [first[at] for at in second]))
        joined += 1
    return joined


def _is_transpose(node: onnx.NodeProto) -> bool:
    return node.op_type == "Transpose" and node.domain in STANDARD


def _order(node: onnx.NodeProto, draft: Draft) -> list[int] | None:
    """Which axis of its input each axis is."""
    order = attribute(node, "perm")
    if order is not None:
        return list(order)
    dims = draft.dims(node.input[0])
    return None if dims is None else [*range(len(dims))][::-1]
