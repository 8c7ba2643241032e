"""Calibration samples: a user's, or synthetic ones made from what the model itself tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

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
    """Samples in chunks that the model takes as they are, and a sentence about where they come from."""

    chunks: list[dict[str, Array]]
    about: str
    synthetic: bool = False

    @property
    def positions(self) -> int:
        """Positions to look at per sample: at least 64, more where there are few samples."""
        return max(64, _ROWS // max(self.samples, 1))

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return sum(len(next(iter(c.values()))) for c in self.chunks)


def from_user(analysis: Analysis, data: dict[str, Array], path: str, seed: int) -> Calibration:
    """Chunks of given samples, shuffled once."""
    count = min(len(a) for a in data.values())
    order = np.random.default_rng(seed).permutation(count)[: _affordable(analysis, count)]
    ordered = {n: a[order] for n, a in data.items()}
    return Calibration(_chunks(analysis, ordered, len(order)), f"{len(order)} samples of {path}")


def synthetic(analysis: Analysis, samples: int, seed: int) -> Calibration:
    """Samples without any data: dead leaves for images, Zipf tokens, smooth noise for signals, ones for masks."""
    graph = analysis.graph
    rng = np.random.default_rng(seed)
    count = _affordable(analysis, samples)
    data: dict[str, Array] = {}
    kinds = []
    for name, shape in analysis.input_shapes.items():
        one = shape[1:] if shape else ()
        data[name], kind = _make(graph, name, count, one, rng)
        kinds.append(f"{name}: {kind}")
    return Calibration(_chunks(analysis, data, count), f"{count} synthetic samples ({'; '.join(kinds)})", True)


def _make(graph: Graph, name: str, count: int, shape: tuple[int, ...], rng: np.random.Generator) -> tuple[Array, str]:
    element = graph.inputs[name].type.tensor_type.elem_type
    dtype = input_dtype(element)
    if element == onnx.TensorProto.STRING:
        return np.full((count, *shape), "a", object), "constant strings"
    if np.issubdtype(dtype, np.floating):
        if len(shape) == 3:
            return _images(count, shape, rng).astype(dtype), "dead leaves images"
        if shape and shape[-1] >= 256 and len(shape) <= 2:
            return _signals(count, shape, rng).astype(dtype), "1/f noise"
        return rng.standard_normal((count, *shape)).astype(dtype), "normal noise"
    if dtype is np.bool_ or "mask" in name.lower():
        return np.ones((count, *shape), dtype), "ones"
    if "position" in name.lower() and shape:
        return np.broadcast_to(np.arange(shape[-1]), (count, *shape)).astype(dtype), "positions in order"
    size = _vocabulary(graph, name)
    ranks = rng.zipf(1.2, (count, *shape))
    return np.asarray((ranks - 1) % size).astype(dtype), f"Zipf tokens below {size}"


def _vocabulary(graph: Graph, name: str) -> int:
    """Rows of the table that the input indexes; 2 if it indexes none (type and segment ids)."""
    for node in graph.consumers.get(name, []):
        if node.op == "Gather" and node.inputs[0] in graph.parameters:
            return int(graph.shape(node.inputs[0])[0])
    return 2


def _images(count: int, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Dead leaves: opaque discs of power-law radius, with the occlusions and the spectrum of natural images."""
    last = shape[-1] <= 4 < shape[0]
    channels, height, width = (shape[2], shape[0], shape[1]) if last else shape
    coloured = min(channels, 4)
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    images = np.empty((count, channels, height, width), np.float32)
    largest = max(height, width) / 2
    for image in images:
        canvas = np.tile(rng.uniform(0, 1, (coloured, 1, 1)), (1, height, width)).astype(np.float32)
        for _ in range(60):
            radius = min(1.0 / rng.power(2.0) + 0.5, largest) if rng.random() < 0.7 else rng.uniform(1, largest)
            y, x = rng.uniform(0, height), rng.uniform(0, width)
            inside = (ys - y) ** 2 + (xs - x) ** 2 <= radius**2
            grey, tint = rng.uniform(0, 1), rng.normal(0, 0.15, coloured)
            canvas[:, inside] = np.clip(grey + tint, 0, 1)[:, None]
        canvas += rng.normal(0, 0.02, canvas.shape)
        image[:] = np.resize(canvas, (channels, height, width))
    mean = images.mean((0, 2, 3), keepdims=True)
    deviation = images.std((0, 2, 3), keepdims=True) + 1e-6
    standard = (images - mean) / deviation
    return np.moveaxis(standard, 1, -1) if last else standard


def _signals(count: int, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Noise with a 1/f spectrum along the last axis, of unit deviation."""
    spectrum = np.fft.rfft(rng.standard_normal((count, *shape)), axis=-1)
    frequencies = np.maximum(np.arange(spectrum.shape[-1]), 1)
    signal = np.fft.irfft(spectrum / np.sqrt(frequencies), n=shape[-1], axis=-1)
    return np.asarray(signal / (signal.std(-1, keepdims=True) + 1e-9))


def _affordable(analysis: Analysis, wanted: int) -> int:
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


def _chunks(analysis: Analysis, data: dict[str, Array], count: int) -> list[dict[str, Array]]:
    """Chunks of the model's own sizes along axis 0; of a size that memory likes where the batch is free.

    Inputs may have different fixed sizes there (nodes and edges of a graph): each is cut by its own.
    """
    graph = analysis.graph
    free = max(1, min(64, _CHUNK_BYTES // max(_live_bytes(analysis) * 4, 1)))
    sizes = {n: _fixed(graph, n) or free for n in data}
    if any(_fixed(graph, n) for n in data):
        # a free size beside a fixed one goes with the shapes the graph was analysed at
        sizes = {n: _fixed(graph, n) or (analysis.input_shapes[n] or (1,))[0] for n in data}
        whole = max(1, min(count // size for size in sizes.values()))
        starts = range(whole)
        return [
            {n: _typed(graph, n, np.resize(a[i * sizes[n] : (i + 1) * sizes[n]], (sizes[n], *a.shape[1:]))) for n, a in data.items()}
            for i in starts
        ]
    return [{n: _typed(graph, n, a[start : start + free]) for n, a in data.items()} for start in range(0, count, free)]


def _fixed(graph: Graph, name: str) -> int:
    """Size of axis 0 if the model fixes it, else 0."""
    dims = input_dims(graph.inputs[name])
    return dims[0] if dims and isinstance(dims[0], int) else 0


def _typed(graph: Graph, name: str, array: Array) -> Any:
    element = graph.inputs[name].type.tensor_type.elem_type
    if element == onnx.TensorProto.STRING:
        return array
    return np.ascontiguousarray(array).astype(input_dtype(element), copy=False)
