"""Fetching tensors inside a model: a copy of it that gives them as outputs."""

from __future__ import annotations

from collections.abc import Iterable

import onnx
from onnx import helper


def probe(model: onnx.ModelProto, names: Iterable[str], *, beside: bool = False) -> onnx.ModelProto:
    """A copy of ``model`` whose outputs are the tensors ``names``; ``beside``: after those that it has."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if not beside:
        del copy.graph.output[:]
    present = {output.name for output in copy.graph.output}
    wanted = (name for name in dict.fromkeys(names) if name not in present)
    copy.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in wanted)
    return copy
