"""Nodes that give what they are given."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto

from spa_cli.tidy.draft import STANDARD, Draft, attribute, input_of

# what holds every value of the type
_WIDER: dict[int, tuple[int, ...]] = {
    TensorProto.FLOAT16: (TensorProto.FLOAT, TensorProto.DOUBLE),
    TensorProto.BFLOAT16: (TensorProto.FLOAT, TensorProto.DOUBLE),
    TensorProto.FLOAT: (TensorProto.DOUBLE,),
    TensorProto.INT32: (TensorProto.INT64, TensorProto.DOUBLE),
}


def skip_idle(draft: Draft) -> int:
    """Identity, Dropout of inference, and Cast, Reshape, Transpose, Pad and the like that change nothing are gone.

    A graph output keeps its name: what makes it is renamed. It keeps its node where that is not possible.
    """
    names: dict[str, str] = {}
    gone = []

    def now(name: str) -> str:
        while name in names:
            name = names[name]
        return name

    for node in draft.graph.node:
        if node.domain not in STANDARD or not node.input or any(draft.is_read(o) for o in node.output[1:]):
            continue
        given = _RULES.get(node.op_type, _never)(node, draft)
        if not given:
            continue
        given, made = now(given), node.output[0]
        if made not in draft.outputs:
            names[made] = given
        elif given in draft.producers and given not in draft.outputs:
            names[given] = made
        else:
            continue
        gone.append(node)
    draft.drop(gone)
    draft.rename({name: now(name) for name in names})
    return len(gone)


# A rule gives the name of what the node passes on, "" if it does more.


def _never(node: onnx.NodeProto, draft: Draft) -> str:
    return ""


def _identity(node: onnx.NodeProto, draft: Draft) -> str:
    return str(node.input[0])


def _single(node: onnx.NodeProto, draft: Draft) -> str:
    """A sum, a maximum, a list of one tensor."""
    return node.input[0] if len(node.input) == 1 else ""


def _dropout(node: onnx.NodeProto, draft: Draft) -> str:
    # before opset 7 it could be told to train
    training = input_of(node, 2)
    on = draft.array(training) if training else np.array(False)
    return node.input[0] if draft.opset >= 7 and on is not None and not on.any() else ""


def _cast(node: onnx.NodeProto, draft: Draft) -> str:
    given = str(node.input[0])
    wanted: int = attribute(node, "to") if node.op_type == "Cast" else draft.kind(node.input[1])
    if not wanted:
        return ""
    if draft.kind(given) == wanted:
        return given
    before = draft.producers.get(given)
    if before is None or before.op_type not in ("Cast", "CastLike") or before.domain not in STANDARD:
        return ""
    # there and back again
    start = str(before.input[0])
    return start if draft.kind(start) == wanted and draft.kind(given) in _WIDER.get(wanted, ()) else ""


def _same_shape(node: onnx.NodeProto, draft: Draft) -> str:
    before, after = draft.dims(node.input[0]), draft.dims(node.output[0])
    return node.input[0] if before is not None and before == after and None not in before else ""


def _flatten(node: onnx.NodeProto, draft: Draft) -> str:
    rank = len(draft.dims(node.input[0]) or ())
    return node.input[0] if rank == 2 and attribute(node, "axis", 1) in (1, -1) else ""


def _transpose(node: onnx.NodeProto, draft: Draft) -> str:
    order = attribute(node, "perm")
    return node.input[0] if order and list(order) == sorted(order) else ""


def _pad(node: onnx.NodeProto, draft: Draft) -> str:
    pads = np.array(attribute(node, "pads", ())) if draft.opset < 11 else draft.array(input_of(node, 1))
    return node.input[0] if pads is not None and pads.size and not pads.any() else ""


def _slice(node: onnx.NodeProto, draft: Draft) -> str:
    """From the first to the last element, step by step."""
    if draft.opset < 10:
        return ""
    starts, ends, steps = (draft.array(input_of(node, at)) for at in (1, 2, 4))
    if starts is None or ends is None or starts.any() or (input_of(node, 4) and (steps is None or (steps != 1).any())):
        return ""
    return node.input[0] if (ends >= np.iinfo(np.int32).max).all() else _same_shape(node, draft)


_RULES: dict[str, Callable[[onnx.NodeProto, Draft], str]] = {
    "Identity": _identity,
    "Dropout": _dropout,
    **dict.fromkeys(("Concat", "Sum", "Max", "Min", "Mean"), _single),
    **dict.fromkeys(("Cast", "CastLike"), _cast),
    **dict.fromkeys(("Reshape", "Expand", "Tile"), _same_shape),
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Pad": _pad,
    "Slice": _slice,
}
