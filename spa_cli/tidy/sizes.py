"""Sizes of tensors, asked for inside the graph."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import onnx

from spa_cli.graph.model import Array
from spa_cli.tidy.draft import STANDARD, Draft, attribute, input_of


def known_sizes(draft: Draft) -> dict[str, Array]:
    """What Shape and Size give, or Gather and Slice of a Shape, where it is the same for any input."""
    found: dict[str, Array] = {}
    for node in draft.graph.node:
        sizes = sizes_of(node, draft) if node.output and draft.is_read(node.output[0]) else None
        if sizes is not None and is_static(sizes.ravel()):
            found[node.output[0]] = sizes.astype(np.int64)
    return found


def sizes_of(node: onnx.NodeProto, draft: Draft) -> Array | None:
    """What such a node gives, as objects: a symbol, or ``None``, where the input decides. ``None`` for other nodes."""
    if node.op_type not in ("Shape", "Size", "Gather", "Slice") or node.domain not in STANDARD:
        return None
    if node.op_type == "Size":
        shape = draft.dims(node.input[0])
        if shape is None or not is_static(shape):
            return None
        return np.array(math.prod(s for s in shape if isinstance(s, int)), object)
    if node.op_type == "Shape":
        return _of_shape(node, draft)
    before = draft.producers.get(node.input[0])
    dims = None if before is None or before.op_type != "Shape" else sizes_of(before, draft)
    if dims is None:
        return None
    try:
        return _gathered(node, draft, dims) if node.op_type == "Gather" else _sliced(node, draft, dims)
    except (IndexError, ValueError):
        # the model asks for an axis that is not there: it says so when it runs
        return None


def is_static(dims: Iterable[object]) -> bool:
    """Whether every size is known."""
    return all(isinstance(d, int) for d in dims)


def _of_shape(node: onnx.NodeProto, draft: Draft) -> Array | None:
    dims = draft.dims(node.input[0])
    return None if dims is None else np.array(dims, object)[attribute(node, "start", 0) : attribute(node, "end")]


def _gathered(node: onnx.NodeProto, draft: Draft, dims: Array) -> Array | None:
    indices = draft.array(node.input[1])
    return None if indices is None else np.array(dims[indices], object)


def _sliced(node: onnx.NodeProto, draft: Draft, dims: Array) -> Array | None:
    if draft.opset < 10:
        given = [np.array(attribute(node, name, ())) for name in ("starts", "ends")]
    else:
        names = [i for i in (*node.input[1:3], input_of(node, 4)) if i]
        given = [value for name in names if (value := draft.array(name)) is not None]
        if len(given) < len(names):
            return None
    if any(g.size != 1 for g in given):
        return None
    return dims[slice(*(int(g.item()) for g in given))]
