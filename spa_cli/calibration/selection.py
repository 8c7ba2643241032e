"""Which of many samples stay: those on which the network is as it was in training, as far as it tells."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from spa_cli.analysis import Analysis
from spa_cli.calibration.chunks import is_scalar
from spa_cli.calibration.store import Positions, Store
from spa_cli.graph.model import Array, Node
from spa_cli.runtime.inputs import input_dims
from spa_cli.runtime.probe import probe
from spa_cli.runtime.session import graph_session

# numbers per sample that are compared with stored statistics (of more, so many are taken), and how large they can be
_COMPARED, _FARTHEST = 8192, 1e15


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
    session = graph_session(analysis.graph)
    predicted = np.zeros(len(pool.kept), np.int64)
    for at, chunk in pool.chunks(analysis):
        found = session.run([scores], chunk)[0]
        if found.ndim != 2 or len(found) != len(at):
            # scores of something else than samples (tokens, boxes), or not of the shape that the file declares
            return np.arange(count)
        predicted[at] = found.argmax(1)
    turn = np.empty(len(predicted), np.int64)
    for label in np.unique(predicted):
        own = np.flatnonzero(predicted == label)
        turn[own] = np.arange(len(own))
    return np.sort(np.argsort(turn, kind="stable")[:count])


def stored(analysis: Analysis) -> list[Node]:
    """BatchNormalizations whose mean and variance are those of the training data, over maps."""
    graph, shapes = analysis.graph, analysis.state.shapes.shape
    return [
        node
        for node in graph.nodes
        if node.op == "BatchNormalization"
        and {*node.inputs[3:5]} <= {*graph.parameters}
        and len(shapes.get(node.inputs[0]) or ()) >= 3
    ]


def like_training(analysis: Analysis, pool: Store, norms: list[Node], count: int) -> Positions:
    """``count`` samples that together give ``norms`` the means and variances they store, as nearly as they can.

    One after the other, always the one that brings those so far nearest (herding: Welling 2009).
    """
    known = _deviations(analysis, pool, norms)
    so_far, left, lengths = np.zeros(known.shape[1], np.float32), np.ones(len(known), bool), np.square(known).sum(1)
    for _ in range(count):
        far = np.where(left, 2 * (known @ so_far) + lengths, np.inf)
        nearest = int(far.argmin())
        left[nearest] = False
        so_far += known[nearest]
    return np.flatnonzero(~left)


def _deviations(analysis: Analysis, pool: Store, norms: list[Node]) -> Array:
    """(samples, numbers): how far mean and mean square of every channel are from what is stored, layers alike."""
    graph, model = analysis.graph, analysis.graph.to_run()
    names = [f"spa/{kind}/{at}" for at in range(len(norms)) for kind in ("mean", "square")]
    for node, mean, square in zip(norms, names[::2], names[1::2], strict=True):
        # averaged inside, so that no map has to be handed out
        model.graph.node.extend(
            [
                # half precision holds no squares of large numbers
                helper.make_node("Cast", [node.inputs[0]], [f"{square}c"], to=onnx.TensorProto.FLOAT),
                helper.make_node("GlobalAveragePool", [f"{square}c"], [mean]),
                helper.make_node("Mul", [f"{square}c", f"{square}c"], [f"{square}d"]),
                helper.make_node("GlobalAveragePool", [f"{square}d"], [square]),
            ]
        )
    session = graph_session(graph, probe(model, names))
    statistics = [tuple(graph.array(n).astype(float) for n in node.inputs[3:5]) for node in norms]
    total = 2 * sum(len(mean) for mean, _ in statistics)
    some = np.unique(np.linspace(0, total - 1, min(total, _COMPARED)).astype(int))
    found = np.zeros((len(pool.kept), len(some)), np.float32)
    for at, chunk in pool.chunks(analysis):
        values = [_by_sample(v, len(at)) for v in session.run(names, chunk)]
        parts = []
        for (stored_mean, variance), first, second in zip(statistics, values[::2], values[1::2], strict=True):
            safe, layer = np.maximum(variance, 0) + 1e-6, np.sqrt(len(variance))
            parts.append((first - stored_mean) / np.sqrt(safe) / layer)
            parts.append(((second - 2 * stored_mean * first + stored_mean**2) / safe - 1) / layer)
        # what is too large, or no number, is as far as can be squared
        found[at] = np.clip(np.nan_to_num(np.concatenate(parts, 1)[:, some], nan=_FARTHEST), -_FARTHEST, _FARTHEST)
    return found


def _by_sample(averages: Array, count: int) -> Array:
    """(count, channels) of averages by channel, (rows, channels, 1...): a sample may be several rows (windows)."""
    rows = averages.reshape(len(averages), averages.shape[1]).astype(float)
    if len(rows) % count:
        # no rows are one sample's: all give the same
        return np.broadcast_to(rows.mean(0), (count, rows.shape[1]))
    return np.asarray(rows.reshape(count, -1, rows.shape[1]).mean(1))
