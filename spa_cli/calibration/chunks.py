"""Calibration samples: as many as can be afforded, in chunks that the model takes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from spa_cli.analysis import Analysis
from spa_cli.graph.bodies import captured_names
from spa_cli.graph.model import Array, Graph
from spa_cli.memory import more_than_fits, working_memory
from spa_cli.runtime.inputs import input_dims, input_dtype

# activations of a chunk, and their share of the memory there is where that is less
_CHUNK_BYTES, _CHUNK_SHARE = 256_000_000, 1 / 16
# multiply-accumulates worth spending on one pass over the samples: some half an hour on two cores
_TOTAL_MACS = 1e14
# positions that a layer is fitted to, over all samples; fewer (per input, at least) where it has few inputs
_ROWS, _ROWS_EACH, _FEWEST_ROWS = 32768, 256, 8192


@dataclass(frozen=True)
class Calibration:
    """Samples in chunks that the model takes as they are, and a sentence about where they come from.

    ``noise``: they have nothing in common with what the model was trained on. ``index``: where the samples of each
    chunk are in the user's data. ``new``: how many of a chunk's last samples are seen there first: the rest fill it up
    (``None``: all). ``warning``: what the user should know of them, "" if nothing.
    """

    chunks: list[dict[str, Array]]
    about: str
    noise: bool = False
    index: list[NDArray[np.int64]] | None = None
    new: list[int | None] | None = None
    warning: str = ""

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return sum(samples_in(c) if new is None else new for c, new in self.runs)

    @property
    def runs(self) -> list[tuple[dict[str, Array], int | None]]:
        """The chunks, each with how many of its last samples count (``None``: all)."""
        return list(zip(self.chunks, self.new or [None] * len(self.chunks), strict=True))

    def first(self, count: int) -> Calibration:
        """The chunks that so many of the samples are in."""
        totals = accumulate(samples_in(c) if new is None else new for c, new in self.runs)
        many = 1 + sum(total < count for total in totals)
        index, new = self.index and self.index[:many], self.new and self.new[:many]
        return replace(self, chunks=self.chunks[:many], index=index, new=new)


def positions(samples: int, inputs: int) -> int:
    """Positions to look at per sample, for a layer of so many inputs: more where there are few samples."""
    rows = min(_ROWS, max(_FEWEST_ROWS, _ROWS_EACH * inputs))
    return max(1, rows // max(samples, 1))


def samples_in(chunk: dict[str, Array]) -> int:
    """Samples in a chunk."""
    return max((len(a) for a in chunk.values() if np.ndim(a)), default=1)


def affordable(analysis: Analysis, wanted: int) -> int:
    """As many samples as can be held in memory and run in a sensible time; ``shortage`` says why there are fewer."""
    return max(min(4, wanted), min(wanted, *_limits(analysis)))


def shortage(analysis: Analysis, wanted: int) -> str:
    """Why fewer samples are used than are wanted, "" if all are."""
    count = affordable(analysis, wanted)
    if count >= wanted:
        return ""
    memory, work = _limits(analysis)
    size = "x".join(map(str, max(analysis.input_shapes.values(), key=math.prod)))
    why = (
        f"all would take {more_than_fits()}"
        if memory <= work
        else f"a pass over all would take more than {_TOTAL_MACS:.0e} multiply-accumulates"
    )
    return f"{count} of {wanted} samples of {size} are used: {why}; give fewer or smaller ones to choose them yourself"


def _limits(analysis: Analysis) -> tuple[int, int]:
    """How many samples fit in memory, and how many can be run in time."""
    each = sum(4 * math.prod(s[1:]) for s in analysis.input_shapes.values())
    # as they were given, and in chunks
    return working_memory() // max(2 * each, 1), int(_TOTAL_MACS * batch_of(analysis) / max(analysis.costs.macs, 1))


def batch_of(analysis: Analysis) -> int:
    """Samples that sizes and costs of the analysis are of."""
    return max((s[0] for s in analysis.input_shapes.values() if s), default=1) or 1


def _live_bytes(analysis: Analysis) -> list[int]:
    """Bytes of activations alive per sample while each node runs."""
    graph, shapes = analysis.graph, analysis.state.shapes.shape
    batch = batch_of(analysis)
    last = {name: i for i, n in enumerate(graph.nodes) for name in {*n.inputs, *captured_names(n.proto)}}
    ending: dict[int, int] = {}
    alive, live = 0, []
    for i, node in enumerate(graph.nodes):
        for name in node.outputs:
            if name and name not in graph.parameters:
                size = 4 * math.prod(d or 1 for d in shapes.get(name) or ()) // batch
                alive += size
                ending[last.get(name, len(graph.nodes))] = ending.get(last.get(name, len(graph.nodes)), 0) + size
        live.append(alive)
        alive -= ending.pop(i, 0)
    return live


def chunked(analysis: Analysis, data: dict[str, Array], count: int) -> list[dict[str, Array]]:
    """Chunks of the model's own sizes along axis 0; of a size that memory likes where the batch is free."""
    return chunks_at(analysis.graph, data, cuts_of(analysis, data, count))


def chunks_at(graph: Graph, data: dict[str, Array], cuts: list[dict[str, NDArray[np.int64]]]) -> list[dict[str, Array]]:
    """Chunks in the types that the model takes; ``cuts``: which samples of every input go into each."""
    return [{n: _typed(graph, n, data[n][at]) for n, at in one.items()} for one in cuts]


def cuts_of(analysis: Analysis, data: dict[str, Array], count: int) -> list[dict[str, NDArray[np.int64]]]:
    """Which samples of every input go into each chunk.

    A model of a fixed batch gets full chunks: ten samples in fours are 0-3, 4-7 and 0 1 8 9, those seen before first.
    Inputs may have different fixed sizes (nodes and edges of a graph): each is cut by its own.
    """
    graph = analysis.graph
    bytes_each = int(min(_CHUNK_BYTES, _CHUNK_SHARE * working_memory()))
    free = max(1, min(64, bytes_each // max(4 * max(_live_bytes(analysis), default=1), 1)))
    batched = [n for n in data if not is_scalar(graph, n)]
    if not any(fixed_size(graph, n) for n in batched):
        starts = [at for run in _runs(graph, data, count) for at in np.split(run, range(free, len(run), free))]
        return [dict.fromkeys(data, at) for at in starts]
    # a free size beside a fixed one goes with the shapes the graph was analysed at
    sizes = {n: fixed_size(graph, n) or (analysis.input_shapes[n] or (1,))[0] for n in batched}
    (each, *others) = set(sizes.values())
    if not others:
        return [dict.fromkeys(data, at) for run in _runs(graph, data, count) for at in _filled(run, each)]
    whole = max(1, min(count // size for size in sizes.values()))
    sizes |= {n: 1 for n in data if n not in sizes}
    return [
        {n: np.resize(np.arange(len(data[n]))[i * size : (i + 1) * size], size) for n, size in sizes.items()}
        for i in range(whole)
    ]


def _filled(run: NDArray[np.int64], each: int) -> list[NDArray[np.int64]]:
    """Chunks of one size; of the last, what is missing is taken from the start again and stands first."""
    missing, whole = -len(run) % each, len(run) // each * each
    filled = np.r_[run[:whole], np.resize(run, missing), run[whole:]]
    return np.split(filled, len(filled) // each)


def _runs(graph: Graph, data: dict[str, Array], count: int) -> list[NDArray[np.int64]]:
    """Samples that can share a run of the model: those with the same values for inputs that have no batch axis."""
    scalars = [data[n][:count] for n in data if is_scalar(graph, n)]
    if not scalars:
        return [np.arange(count)]
    _, run = np.unique(np.stack(scalars), axis=1, return_inverse=True)
    order = np.argsort(run.ravel(), kind="stable")
    return np.split(order, np.flatnonzero(np.diff(run.ravel()[order])) + 1)


def is_scalar(graph: Graph, name: str) -> bool:
    """Whether the input takes one number, which all samples of a run have to share."""
    return input_dims(graph.inputs[name]) == []


def fixed_size(graph: Graph, name: str) -> int:
    """Size of axis 0 if the model fixes it, else 0."""
    dims = input_dims(graph.inputs[name])
    return dims[0] if dims and isinstance(dims[0], int) else 0


def _typed(graph: Graph, name: str, array: Array) -> Any:
    element = graph.inputs[name].type.tensor_type.elem_type
    if is_scalar(graph, name):
        array = np.reshape(array[0], ())
    if element == onnx.TensorProto.STRING:
        return array
    return np.ascontiguousarray(array).astype(input_dtype(element), copy=False)
