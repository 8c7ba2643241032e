"""What is known to take more memory than there is, before any of it is asked for."""

from __future__ import annotations

import math

from onnx import TensorProto, helper

from spa_cli.graph.bodies import captured_names
from spa_cli.graph.known import Shapes
from spa_cli.graph.model import Graph
from spa_cli.memory import whole_memory


def too_large(graph: Graph, known: Shapes) -> str:
    """Which node of the main graph gives such a tensor, as a clause; "" where none is known to.

    What no output comes from is not worked out.
    """
    read, most = {*graph.outputs}, whole_memory()
    for node in reversed(graph.nodes):
        if read.isdisjoint(node.outputs):
            continue
        read.update((*node.inputs, *captured_names(node.proto)))
        for name in (o for o in node.outputs if o):
            shape = [d for d in known.shape.get(name) or () if d is not None]
            if math.prod(shape) * _width(known.dtype.get(name, 0)) > most:
                return f"'{node.label}' gives {'x'.join(map(str, shape))} numbers, more than there is memory for"
    return ""


def _width(kind: int) -> int:
    if kind in (TensorProto.UNDEFINED, TensorProto.STRING):
        return 1
    return int(helper.tensor_dtype_to_np_dtype(kind).itemsize)
