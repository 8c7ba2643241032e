"""Calibration samples: as many as can be afforded, in chunks that the model takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from spa_cli.analysis import Analysis
from spa_cli.graph.model import Array, Graph
from spa_cli.verification.inputs import input_dims, input_dtype

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
    return cut(analysis.graph, data, cuts_of(analysis, data, count))


def cut(graph: Graph, data: dict[str, Array], cuts: list[dict[str, NDArray[np.int64]]]) -> list[dict[str, Array]]:
    """Chunks in the types that the model takes; ``cuts``: which samples of every input go into each."""
    return [{n: _typed(graph, n, data[n][at]) for n, at in one.items()} for one in cuts]


def cuts_of(analysis: Analysis, data: dict[str, Array], count: int) -> list[dict[str, NDArray[np.int64]]]:
    """Which samples of every input go into each chunk.

    Inputs may have different fixed sizes there (nodes and edges of a graph): each is cut by its own.
    """
    graph = analysis.graph
    free = max(1, min(64, _CHUNK_BYTES // max(_live_bytes(analysis) * 4, 1)))
    if any(fixed_size(graph, n) for n in data):
        # a free size beside a fixed one goes with the shapes the graph was analysed at
        sizes = {n: fixed_size(graph, n) or (analysis.input_shapes[n] or (1,))[0] for n in data}
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


def fixed_size(graph: Graph, name: str) -> int:
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
