"""Which of many samples stay: those on which a classifier's own predictions are spread evenly over its classes."""

from __future__ import annotations

import numpy as np
import onnx

from spa_cli.analysis import Analysis
from spa_cli.calibration.chunks import is_scalar
from spa_cli.calibration.store import Positions, Store
from spa_cli.runtime.inputs import input_dims
from spa_cli.runtime.providers import chosen
from spa_cli.runtime.session import open_session


def class_scores(analysis: Analysis) -> str:
    """The one output that gives every sample of a batch scores of at least three classes, "" if there is none."""
    graph, shapes = analysis.graph, analysis.state.shapes.shape
    batches = {(input_dims(i) or [0])[0] for n, i in graph.inputs.items() if not is_scalar(graph, n)}
    if len({size for size in batches if isinstance(size, int)}) > 1:
        # nodes and edges of a graph
        return ""
    found = [o for o in graph.model.graph.output if o.type.tensor_type.elem_type == onnx.TensorProto.FLOAT]
    wide = [o.name for o in found if len(s := shapes.get(o.name) or ()) == 2 and (s[1] or 0) >= 3]
    return wide[0] if len(wide) == 1 == len(graph.outputs) else ""


def evenly_spread(analysis: Analysis, pool: Store, scores: str, count: int) -> Positions:
    """``count`` samples, as equally many of each predicted class as there are."""
    session = open_session(analysis.graph.in_memory(), providers=chosen())
    predicted = np.zeros(len(pool.kept), np.int64)
    for at, chunk in pool.chunks(analysis):
        found = session.run([scores], chunk)[0].argmax(1)
        if len(found) != len(at):
            # scores of something else than samples (tokens, boxes)
            return np.arange(count)
        predicted[at] = found
    turn = np.empty(len(predicted), np.int64)
    for label in np.unique(predicted):
        own = np.flatnonzero(predicted == label)
        turn[own] = np.arange(len(own))
    return np.sort(np.argsort(turn, kind="stable")[:count])
