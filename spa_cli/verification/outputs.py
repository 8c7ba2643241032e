"""Whether two models give the same, but for rounding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from spa_cli.graph.model import Graph
from spa_cli.runtime.session import floats, shape_of


def outputs_differ(
    graph: Graph, left: list[Any], right: list[Any], what: str, names: Sequence[str] | None = None
) -> str | None:
    """How outputs differ from those on the left, of ``what``, beyond rounding; ``None`` if they don't.

    ``names``: what they are called where they aren't those of ``graph``. Single precision rounds to a thousandth of
    what is largest, half to a twentieth.
    """
    tolerance = 1e-3 if _single_precision(graph) else 5e-2
    for name, a, b in zip(graph.outputs if names is None else names, left, right, strict=True):
        if shape_of(a) != shape_of(b):
            return f"output '{name}' has shape {shape_of(b)}, not {shape_of(a)}"
        for x, y in zip(floats([a]), floats([b]), strict=True):
            if not np.isfinite(x).all() or not x.size:
                continue
            worst = float(np.abs(x - y).max()) / (float(np.abs(x).max()) + 1e-12)
            if not worst <= tolerance:
                return f"output '{name}' differs by {worst:.1e} from {what}"
    return None


def _single_precision(graph: Graph) -> bool:
    wide = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)
    return all(graph.parameters[w].data_type in wide for w in graph.weights())
