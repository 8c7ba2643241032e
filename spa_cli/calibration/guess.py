"""Which of the usual ranges pictures have that a model takes, where its first operators don't say: it is tried.

A sum whose bias drowns what it sums, a BatchNorm whose statistics are others', a classifier that tells no two pictures
apart: those of a wrong range.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from spa_cli.analysis import Analysis
from spa_cli.calibration.kinds import Kind
from spa_cli.calibration.ranges import CENTRED, NORMAL, PIXELS, SIGNED, UNIT, Range
from spa_cli.calibration.selection import class_scores
from spa_cli.calibration.store import Store
from spa_cli.graph.model import Array, Graph, Node
from spa_cli.runtime.probe import probe
from spa_cli.runtime.session import graph_session

# those about as wide as one, and those 255 times as wide: within either a mistake costs little
_NARROW, _WIDE = (NORMAL, SIGNED, UNIT), (CENTRED, PIXELS)
# multiply-accumulates that trying them is worth, and pictures at least and at most
_MACS, _FEWEST, _MOST = 2e10, 8, 32
# a bias is about so many deviations of what it is added to, give or take a factor
_BIAS, _TOLERATED = 0.7, 10.0
# how far statistics may be from those stored: of an octave of deviation, and deviations of mean
_FITS = 0.6
_SUMS = frozenset({"Conv", "Gemm", "MatMul"})


@dataclass(frozen=True, eq=False)
class _First:
    """The first sum of products behind an input: its tensor, the axis of its channels, the BatchNorm behind it."""

    tensor: str
    axis: int
    norm: tuple[Array, Array] | None


def decided(analysis: Analysis, kinds: Mapping[str, Kind]) -> dict[str, Kind]:
    """The kinds, with a range for all pictures that had none."""
    unknown = [n for n, kind in kinds.items() if kind.undecided]
    if not unknown:
        return dict(kinds)
    found, because, sure = _guess(analysis, kinds, unknown)
    words = " or ".join(r.about if at == 0 else r.about.removeprefix("pixels ") for at, r in enumerate(found))
    return {
        n: replace(kind, ranges=found, about=f"{kind.about}, {words}{because}", doubtful=not sure)
        if n in unknown
        else kind
        for n, kind in kinds.items()
    }


def _guess(analysis: Analysis, kinds: Mapping[str, Kind], unknown: list[str]) -> tuple[tuple[Range, ...], str, bool]:
    """Ranges for pictures, why, and whether something stored says so."""
    first, scores = first_sum(analysis.graph, unknown[0]), class_scores(analysis)
    wanted = [*filter(None, (first.tensor if first else "", scores))]
    if not wanted:
        return _NARROW, "", False
    count = int(np.clip(_MACS / max(analysis.costs.macs, 1), _FEWEST, _MOST)) if scores else _FEWEST
    store = Store.of(analysis, kinds, count, np.random.default_rng(0))
    session = graph_session(analysis.graph, probe(analysis.graph.to_run(), wanted))

    def outputs(span: Range | None) -> dict[str, Array]:
        ranged = {n: replace(kinds[n], ranges=(span,)) if n in unknown and span else kinds[n] for n in kinds}
        chunks = [chunk for _, chunk in replace(store, kinds=ranged).chunks(analysis)]
        if span is None:
            chunks = [{n: np.zeros_like(v) if n in unknown else v for n, v in chunk.items()} for chunk in chunks[:1]]
        runs = [session.run(wanted, chunk) for chunk in chunks]
        # half precision holds no sum of squares
        return {n: np.concatenate(values).astype(np.float64) for n, *values in zip(wanted, *runs, strict=True)}

    try:
        seen = {span: outputs(span) for span in (*_NARROW, *_WIDE)}
        nothing = outputs(None)
    except Exception:  # noqa: BLE001 - onnxruntime's kinds are its own; what it doesn't run on is told elsewhere
        return _NARROW, "", False
    if first and first.norm:
        misfit = {span: _misfit(_channels(each[first.tensor], first.axis), *first.norm) for span, each in seen.items()}
        best = min(misfit, key=lambda span: misfit[span])
        if misfit[best] < _FITS:
            return (best,), " (as the first BatchNormalization stores)", True
        return _NARROW if best in _NARROW else _WIDE, " (nearest to what the first BatchNormalization stores)", False
    worth = dict.fromkeys(seen, 0.0)
    if first:
        rest = _channels(nothing[first.tensor], first.axis)
        worth = {span: -_drowned(_channels(each[first.tensor], first.axis), rest) for span, each in seen.items()}
    if scores:
        told = _told([each[scores] for each in seen.values()])
        worth = {span: value + more for (span, value), more in zip(worth.items(), told, strict=True)}
    best = max(worth, key=lambda span: worth[span])
    because = " (there it tells them apart)" if scores else " (there its first bias is in proportion)"
    return _NARROW if best in _NARROW else _WIDE, because, False


def first_sum(graph: Graph, name: str) -> _First | None:
    """The first sum of products that depends on an input, with its bias."""
    reached = {name}
    for node in graph.nodes:
        if not reached & {*node.inputs}:
            continue
        reached |= {*node.outputs}
        if node.op in _SUMS and node.inputs[0] in reached:
            return _with_bias(graph, node)
    return None


def _with_bias(graph: Graph, node: Node) -> _First:
    tensor, axis = node.outputs[0], 1 if node.op == "Conv" else -1
    after = graph.only_reader(tensor)
    if after is not None and after.op == "Add" and any(i in graph.parameters for i in after.inputs):
        tensor = after.outputs[0]
        after = graph.only_reader(tensor)
    norm = None
    if after is not None and after.op == "BatchNormalization" and {*after.inputs[3:5]} <= {*graph.parameters}:
        mean, variance = (graph.array(i).astype(float) for i in after.inputs[3:5])
        norm = mean, np.sqrt(np.maximum(variance, 0)) + 1e-6
    return _First(tensor, axis, norm)


def _channels(values: Array, axis: int) -> Array:
    """(channels, everything else)."""
    moved = np.moveaxis(values, axis, 0)
    return moved.reshape(len(moved), -1)


def _misfit(values: Array, mean: Array, deviation: Array) -> float:
    """How far the channels are from stored statistics: octaves of deviation, and deviations of mean."""
    if not np.isfinite(values).all():
        return math.inf
    octaves = abs(np.log2((values.std(1) + 1e-9) / deviation))
    return float(np.median(octaves) + np.median(abs(values.mean(1) - mean) / deviation))


def _drowned(values: Array, nothing: Array) -> float:
    """By how much the bias (what comes of no picture) is out of proportion to what pictures add, as a logarithm."""
    if not (np.isfinite(values).all() and np.isfinite(nothing).all()):
        return math.inf
    bias, spread = np.median(nothing, 1), values.std(1)
    if not bias.any():
        return 0.0
    ratio = np.median(abs(bias) / (spread + 1e-9)) + 1e-9
    return float(max(0.0, abs(np.log(ratio / _BIAS)) - np.log(_TOLERATED)))


def _told(scores: Iterable[Array]) -> list[float]:
    """How well a classifier tells pictures apart in each range, as logarithms.

    Its mean prediction is spread over the classes, its scores differ more between pictures than between classes, and
    it knows something of each: a quarter of what it knows in the best range is enough.
    """
    even, apart, known = list[float](), list[float](), list[float]()
    for values in scores:
        if not np.isfinite(values).all():
            for lacking in (even, apart, known):
                lacking.append(0.0)
            continue
        shifted = np.exp(values - values.max(1, keepdims=True)) if _raw(values) else np.maximum(values, 0)
        chances = shifted / shifted.sum(1, keepdims=True)
        each, mean = float(_entropy(chances).mean()), float(_entropy(chances.mean(0)))
        even.append(mean)
        known.append(mean - each)
        apart.append(float(values.std(0).mean() / (values.std() + 1e-12)))
    enough = np.minimum(1, 4 * np.array(known) / max(*known, 1e-9))
    return [float(np.log(max(e * a * k, 1e-9))) for e, a, k in zip(even, apart, enough, strict=True)]


def _raw(values: Array) -> bool:
    """Whether scores are not probabilities already."""
    return bool(values.min() < 0 or abs(values.sum(1) - 1).max() > 1e-2)


def _entropy(chances: Array) -> Array:
    return np.asarray(-(chances * np.log(chances + 1e-12)).sum(-1))
