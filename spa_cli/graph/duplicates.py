"""Weights that are stored more than once under one name.

onnxruntime takes the first of them or the last, by their size; a cut that changes the other changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

from spa_cli.errors import ModelError
from spa_cli.graph.bodies import graphs
from spa_cli.graph.external import array_of
from spa_cli.graph.sparse import dense

Initializer = onnx.TensorProto | onnx.SparseTensorProto


def check_duplicates(graph: onnx.GraphProto, folder: str, name: str) -> None:
    """Raise ModelError if any graph in the model ``name`` holds different values under one name."""
    doubtful = [
        each for place in graphs(graph) for each, found in _repeated(place).items() if not _alike(found, folder)
    ]
    if doubtful:
        listed = ", ".join(f"'{each}'" for each in doubtful[:5]) + (" and others" if len(doubtful) > 5 else "")
        raise ModelError(
            f"'{name}' stores {listed} more than once with different values, and which of them counts no standard "
            "says; keep one of each"
        )


def without_duplicates(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the first only of what its main graph stores more than once (in bodies onnxruntime takes none)."""
    if not _repeated(model.graph):
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    seen: set[str] = set()
    stored: tuple[tuple[Any, Callable[[Any], str]], ...] = (
        (copy.graph.initializer, lambda tensor: str(tensor.name)),
        (copy.graph.sparse_initializer, lambda sparse: str(sparse.values.name)),
        (copy.graph.node, lambda node: "" if _value(node) is None else str(node.output[0])),
    )
    for several, name_of in stored:
        gone = []
        for at, name in enumerate(map(name_of, several)):
            if name and name in seen:
                gone.append(at)
            seen.add(name)
        for at in reversed(gone):
            del several[at]
    return copy


def _repeated(graph: onnx.GraphProto) -> dict[str, list[Initializer]]:
    """What a graph itself stores under one name, where that is more than one tensor."""
    stored: dict[str, list[Initializer]] = defaultdict(list)
    for tensor in graph.initializer:
        stored[tensor.name].append(tensor)
    for sparse in graph.sparse_initializer:
        stored[sparse.values.name].append(sparse)
    for node in graph.node:
        value = _value(node)
        if value is not None:
            stored[node.output[0]].append(value)
    return {name: found for name, found in stored.items() if len(found) > 1}


def _value(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """The tensor of a Constant node."""
    if node.op_type != "Constant" or not node.output:
        return None
    return next((a.t for a in node.attribute if a.name == "value"), None)


def _alike(found: list[Initializer], folder: str) -> bool:
    try:
        plain = [dense(t) if isinstance(t, onnx.SparseTensorProto) else t for t in found]
        if len({(t.data_type, tuple(t.dims)) for t in plain}) > 1:
            return False
        first, *others = (array_of(t, folder) for t in plain)
    except ValueError:
        # values that don't fill their shape
        return False
    return all(np.array_equal(first, other, equal_nan=first.dtype.kind == "f") for other in others)
