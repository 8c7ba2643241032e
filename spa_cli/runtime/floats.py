"""The last floating-point tensors of a network: what can be compared where outputs are classes or indices."""

from __future__ import annotations

from onnx import TensorProto

from spa_cli.graph.model import FLOAT_TYPES, Graph
from spa_cli.graph.shapes import Shapes


def last_floats(graph: Graph, shapes: Shapes) -> list[str]:
    """The outputs that are floating-point numbers; of each other one the nearest tensors before it that are.

    Nothing is looked for behind a tensor whose type is not known, or that a constant gives.
    """
    found: dict[str, None] = {}
    waiting, seen = [*graph.outputs][::-1], set[str]()
    while waiting:
        name = waiting.pop()
        kind = shapes.dtype.get(name, TensorProto.UNDEFINED)
        if name in seen or name in graph.parameters or name in graph.inputs:
            continue
        seen.add(name)
        if kind in FLOAT_TYPES:
            found[name] = None
        elif kind != TensorProto.UNDEFINED and name in graph.producers:
            waiting += [i for i in graph.producers[name].inputs if i][::-1]
    return [*found]
