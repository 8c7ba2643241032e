"""Shapes that no inference gives (custom, fused and control-flow operators), read off one run in onnxruntime."""

from __future__ import annotations

import numpy as np
from onnx import helper

from spa_cli.graph.model import Graph
from spa_cli.graph.shapes import Observed, Shapes
from spa_cli.runtime.made_up import synthetic
from spa_cli.runtime.probe import probe
from spa_cli.runtime.room import too_large
from spa_cli.runtime.session import open_session

# the run needs the whole model in memory once more
_LIMIT = 500_000_000


def observe(graph: Graph, known: Shapes, shapes: dict[str, tuple[int, ...]]) -> Observed:
    """Shapes and types of the tensors that are unknown, as one run on synthetic inputs shows them; none if it fails."""
    model = graph.model
    outside = {id(node) for node in graph.nodes}
    unknown = [n for n, node in known.unknown.items() if id(node) in outside and node.op != "ZipMap"]
    if not unknown or model.ByteSize() > _LIMIT or any(t.data_location for t in model.graph.initializer):
        return {}
    if too_large(graph, known):
        return {}
    try:
        session = open_session(probe(model, unknown, beside=True))
        names = [o.name for o in session.get_outputs()]
        outputs = session.run(names, synthetic(graph, shapes))
    except Exception:  # noqa: BLE001 - onnxruntime's kinds are its own; without the run these stay unknown, and frozen
        return {}
    seen = {n: v for n, v in zip(names, outputs, strict=True) if n in unknown and isinstance(v, np.ndarray)}
    return {n: (v.shape, int(helper.np_dtype_to_tensor_dtype(v.dtype))) for n, v in seen.items() if v.dtype.kind != "O"}
