"""Calibration samples: as many as can be afforded, in chunks that the model takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from spa_cli.analysis import Analysis
from spa_cli.errors import UsageError
from spa_cli.graph.model import Array, Graph
from spa_cli.importance.focus import FOCUS, Focus
from spa_cli.verification.inputs import input_dims, input_dtype
from spa_cli.verification.session import open_session

_CHUNK_BYTES = 256_000_000
_TOTAL_BYTES = 1_500_000_000
# multiply-accumulates worth spending on samples: some ten seconds a pass on two cores
_TOTAL_MACS = 2e11
_ROWS = 32768


@dataclass(frozen=True)
class Calibration:
    """Samples in chunks that the model takes as they are, and a sentence about where they come from.

    ``noise``: they have nothing in common with what the model was trained on. ``index``: where the samples of each
    chunk are in the user's data.
    """

    chunks: list[dict[str, Array]]
    about: str
    noise: bool = False
    index: list[NDArray[np.int64]] | None = None

    @property
    def positions(self) -> int:
        """Positions to look at per sample: at least 64, more where there are few samples."""
        return max(64, _ROWS // max(self.samples, 1))

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return sum(samples_in(c) for c in self.chunks)


def samples_in(chunk: dict[str, Array]) -> int:
    """Samples in a chunk."""
    return max((len(a) for a in chunk.values() if np.ndim(a)), default=1)


def from_user(
    analysis: Analysis, data: dict[str, Array], path: str, wanted: int, seed: int, focus: Focus
) -> Calibration:
    """Chunks of at most ``wanted`` given samples, spread over the file, shuffled once."""
    total = min(len(a) for a in data.values())
    spread = np.sort(np.random.default_rng(seed).permutation(total)[:wanted])
    order = np.random.default_rng(seed).permutation(len(spread))[: affordable(analysis, len(spread))]
    index = spread[order]
    if focus.samples is not None:
        often = np.repeat(np.arange(total), focus.repeats(total))
        index = np.random.default_rng(seed).permutation(often)[: len(index)]
    ordered = {n: a[index] for n, a in data.items()}
    cuts = _cuts(analysis, ordered, len(index))
    first = max(ordered, key=lambda n: np.ndim(ordered[n]))
    return Calibration(
        _cut(analysis.graph, ordered, cuts), f"{len(index)} samples of {path}", index=[index[at[first]] for at in cuts]
    )


def emphasised(analysis: Analysis, calibration: Calibration, focus: Focus) -> Calibration:
    """Samples of which the model says one of the classes, ``FOCUS`` times as often.

    Raises UsageError if no output gives every sample class scores, or no sample is of these classes.
    """
    graph = analysis.graph
    name = focus.output or next((n for n in graph.outputs if len(analysis.state.shapes.shape.get(n) or ()) == 2), "")
    session = open_session(graph.in_memory())
    chunks, index, hits = [], [], 0
    free = not any(_fixed(graph, n) for n in calibration.chunks[0])
    for at, chunk in enumerate(calibration.chunks):
        scores: Array = session.run([name], chunk)[0] if name else np.zeros(0)
        if scores.ndim != 2 or len(scores) != samples_in(chunk) or max(focus.classes) >= scores.shape[1]:
            raise UsageError(
                f"--focus classes={','.join(map(str, focus.classes))} needs an output with scores of these classes for "
                f"every sample; name it with --focus output=NAME (of {', '.join(graph.outputs)})"
            )
        wanted = np.isin(scores.argmax(1), focus.classes)
        hits += int(wanted.sum())
        positions = calibration.index[at] if calibration.index else None
        if free:
            often = np.repeat(np.arange(len(wanted)), np.where(wanted, FOCUS, 1))
            chunks.append({n: a[often] if np.ndim(a) else a for n, a in chunk.items()})
            index.append(positions[often] if positions is not None else often)
        else:
            often = np.arange(FOCUS if wanted.any() else 1)
            chunks += [chunk for _ in often]
            index += [positions if positions is not None else often for _ in often]
    if not hits:
        raise UsageError(
            f"--focus classes={','.join(map(str, focus.classes))}: the model says none of these of any sample"
        )
    about = f"{calibration.about}, {hits} of the focused classes taken {FOCUS} times"
    return replace(calibration, chunks=chunks, about=about, index=index if calibration.index else None)


def affordable(analysis: Analysis, wanted: int) -> int:
    """As many samples as fit in memory twice (dense and pruned) at the widest point, and in a sensible time."""
    memory = int(_TOTAL_BYTES / max(_live_bytes(analysis), 1) / 2)
    work = max(32, int(_TOTAL_MACS / max(analysis.costs.macs, 1)))
    return max(4, min(wanted, memory, work))


def _live_bytes(analysis: Analysis) -> int:
    """Bytes of activations alive at once, per sample, at the widest point."""
    graph, shapes = analysis.graph, analysis.state.shapes.shape
    batch = max((s[0] for s in analysis.input_shapes.values() if s), default=1)
    last = {name: i for i, n in enumerate(graph.nodes) for name in n.inputs}
    ending: dict[int, int] = {}
    live = most = 0
    for i, node in enumerate(graph.nodes):
        for name in node.outputs:
            if name and name not in graph.parameters:
                size = 4 * int(np.prod([d or 1 for d in shapes.get(name, ())], dtype=np.int64)) // max(batch, 1)
                live += size
                ending[last.get(name, len(graph.nodes))] = ending.get(last.get(name, len(graph.nodes)), 0) + size
        most = max(most, live)
        live -= ending.pop(i, 0)
    return most


def chunked(analysis: Analysis, data: dict[str, Array], count: int) -> list[dict[str, Array]]:
    """Chunks of the model's own sizes along axis 0; of a size that memory likes where the batch is free."""
    return _cut(analysis.graph, data, _cuts(analysis, data, count))


def _cut(graph: Graph, data: dict[str, Array], cuts: list[dict[str, NDArray[np.int64]]]) -> list[dict[str, Array]]:
    return [{n: _typed(graph, n, data[n][at]) for n, at in cut.items()} for cut in cuts]


def _cuts(analysis: Analysis, data: dict[str, Array], count: int) -> list[dict[str, NDArray[np.int64]]]:
    """Which samples of every input go into each chunk.

    Inputs may have different fixed sizes there (nodes and edges of a graph): each is cut by its own.
    """
    graph = analysis.graph
    free = max(1, min(64, _CHUNK_BYTES // max(_live_bytes(analysis) * 4, 1)))
    if any(_fixed(graph, n) for n in data):
        # a free size beside a fixed one goes with the shapes the graph was analysed at
        sizes = {n: _fixed(graph, n) or (analysis.input_shapes[n] or (1,))[0] for n in data}
        whole = max(1, min(count // size for size in sizes.values()))
        return [
            {n: np.resize(np.arange(len(data[n]))[i * size : (i + 1) * size], size) for n, size in sizes.items()}
            for i in range(whole)
        ]
    starts = [at for run in _runs(graph, data, count) for at in np.split(run, range(free, len(run), free))]
    return [dict.fromkeys(data, at) for at in starts]


def _runs(graph: Graph, data: dict[str, Array], count: int) -> list[NDArray[np.int64]]:
    """Samples that can share a run of the model: those with the same values for inputs that have no batch axis."""
    scalars = [data[n][:count] for n in data if _scalar(graph, n)]
    if not scalars:
        return [np.arange(count)]
    _, run = np.unique(np.stack(scalars), axis=1, return_inverse=True)
    order = np.argsort(run.ravel(), kind="stable")
    return np.split(order, np.flatnonzero(np.diff(run.ravel()[order])) + 1)


def _scalar(graph: Graph, name: str) -> bool:
    return input_dims(graph.inputs[name]) == []


def _fixed(graph: Graph, name: str) -> int:
    """Size of axis 0 if the model fixes it, else 0."""
    dims = input_dims(graph.inputs[name])
    return dims[0] if dims and isinstance(dims[0], int) else 0


def _typed(graph: Graph, name: str, array: Array) -> Any:
    element = graph.inputs[name].type.tensor_type.elem_type
    if _scalar(graph, name):
        array = np.reshape(array[0], ())
    if element == onnx.TensorProto.STRING:
        return array
    return np.ascontiguousarray(array).astype(input_dtype(element), copy=False)
