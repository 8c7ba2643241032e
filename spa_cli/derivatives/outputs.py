"""The outputs on which a loss may be taken, and what onnxruntime gives for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from spa_cli.graph.model import Array, Graph
from spa_cli.runtime.probe import probe
from spa_cli.runtime.session import Feeds, open_session, run

# what may stand between scores and an output that names the best of them
_AFTER = frozenset({"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})


def expected(graph: Graph, feeds: Feeds, reference: Sequence[Any]) -> dict[str, Array]:
    """What onnxruntime gives on ``feeds``, for every floating-point output.

    Scores in a map (ZipMap) count by the tensor they come from; where the outputs only name the best class (ArgMax),
    the scores it is best of stand in for them.
    """
    given: dict[str, Array] = {}
    for name, value in zip(graph.outputs, reference, strict=True):
        made = graph.producers.get(name)
        if made is not None and made.op == "ZipMap" and isinstance(value, list):
            given.setdefault(made.inputs[0], np.array([list(row.values()) for row in value], np.float32))
        elif isinstance(value, np.ndarray) and is_float(value):
            given[name] = value
    if given:
        return given
    behind = [scores for name in graph.outputs if (scores := _scores_behind(graph, name))]
    return _computed(graph, behind, feeds) if behind else {}


def is_float(array: Array) -> bool:
    """Whether an array holds floating-point numbers (bfloat16 is none of NumPy's own)."""
    return array.dtype.kind == "f" or array.dtype.name == "bfloat16"


def disagreement(wanted: Array, found: Array) -> float:
    """Greatest difference relative to the greatest value wanted; infinite where shapes or finiteness differ."""
    if wanted.shape != found.shape or not np.array_equal(np.isfinite(wanted), np.isfinite(found)):
        return float("inf")
    finite = np.isfinite(wanted)
    scale = np.abs(wanted[finite]).max(initial=0.0)
    return float(np.abs(wanted[finite] - found[finite]).max(initial=0.0) / max(scale, 1e-12))


def _scores_behind(graph: Graph, name: str) -> str:
    node = graph.producers.get(name)
    if node is None:
        return ""
    if node.op in ("ArgMax", "TopK"):
        return node.inputs[0]
    # a class below a threshold may be replaced by none
    before = node.inputs[1:] if node.op == "Where" else node.inputs[:1] if node.op in _AFTER else ()
    return next((scores for i in before if (scores := _scores_behind(graph, i))), "")


def _computed(graph: Graph, names: list[str], feeds: Feeds) -> dict[str, Array]:
    session = open_session(probe(graph.model, names))
    found = zip((o.name for o in session.get_outputs()), run(session, feeds), strict=True)
    return {n: v for n, v in found if is_float(v)}
