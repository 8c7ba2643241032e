"""Samples without any data, made from what the model itself tells: the shape, type, rank and use of its inputs."""

from __future__ import annotations

import numpy as np
import onnx

from spa_cli.analysis import Analysis
from spa_cli.calibration.chunks import Calibration, affordable, chunked
from spa_cli.calibration.dead_leaves import dead_leaves
from spa_cli.graph.model import Array, Graph
from spa_cli.runtime.inputs import input_dims, input_dtype
from spa_cli.runtime.providers import chosen
from spa_cli.runtime.session import open_session

# of the samples of a classifier, one in this many is kept, where running them costs no more multiply-accumulates
_POOL, _POOL_MACS = 4, 2e12
_SAME_VALUES = frozenset({"Cast", "Identity", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Transpose", "Expand"})


def synthetic(analysis: Analysis, samples: int, seed: int, spread: bool = True) -> Calibration:
    """Dead leaves for images, Zipf tokens, 1/f noise for signals, ones for masks, noise for the rest.

    ``spread``: a classifier is shown more of them, and those stay on which its own predictions are spread evenly over
    its classes.
    """
    graph = analysis.graph
    rng = np.random.default_rng(seed)
    count = affordable(analysis, samples)
    scores = _class_scores(analysis) if spread else ""
    most = max(count, int(_POOL_MACS / max(analysis.costs.macs, 1)))
    pool = affordable(analysis, min(_POOL * count, most)) if scores else count
    data: dict[str, Array] = {}
    kinds: dict[str, str] = {}
    for name, shape in analysis.input_shapes.items():
        data[name], kinds[name] = _make(graph, name, pool, shape[1:] if shape else (), rng)
    if pool > count:
        keep = _evenly_spread(analysis, data, scores, count)
        data = {n: a[keep] for n, a in data.items()}
    about = "; ".join(f"{name}: {kind}" for name, kind in kinds.items())
    chosen = f", of {pool} those with evenly spread predictions" if pool > count else ""
    noise = any("noise" in kind for kind in kinds.values())
    return Calibration(chunked(analysis, data, count), f"{count} synthetic samples ({about}{chosen})", noise)


def _class_scores(analysis: Analysis) -> str:
    """The one output that gives every sample of a batch scores of at least three classes, "" if there is none."""
    graph, shapes = analysis.graph, analysis.state.shapes.shape
    if any(isinstance((input_dims(i) or [0])[0], int) for i in graph.inputs.values()):
        return ""
    found = [o for o in graph.model.graph.output if o.type.tensor_type.elem_type == onnx.TensorProto.FLOAT]
    wide = [o.name for o in found if len(s := shapes.get(o.name) or ()) == 2 and (s[1] or 0) >= 3]
    return wide[0] if len(wide) == 1 == len(graph.outputs) else ""


def _evenly_spread(analysis: Analysis, data: dict[str, Array], scores: str, count: int) -> Array:
    """Indices of ``count`` samples, as equally many of each predicted class as there are."""
    session = open_session(analysis.graph.in_memory(), providers=chosen())
    size = len(next(iter(data.values())))
    predicted = np.concatenate([session.run([scores], c)[0].argmax(1) for c in chunked(analysis, data, size)])
    if len(predicted) != size:
        # scores of something else than samples (tokens, boxes)
        return np.arange(count)
    turn = np.empty(size, np.int64)
    for label in np.unique(predicted):
        own = np.flatnonzero(predicted == label)
        turn[own] = np.arange(len(own))
    return np.sort(np.argsort(turn, kind="stable")[:count])


def _make(graph: Graph, name: str, count: int, shape: tuple[int, ...], rng: np.random.Generator) -> tuple[Array, str]:
    element = graph.inputs[name].type.tensor_type.elem_type
    dtype = input_dtype(element)
    if element == onnx.TensorProto.STRING:
        return np.full((count, *shape), "a", object), "constant strings"
    if np.issubdtype(dtype, np.floating):
        values, kind = _floats(count, shape, rng)
        low, high = _range(graph, name)
        if low < high:
            inside = np.clip(0.5 + 0.25 * values, 0, 1)
            values, kind = low + (high - low) * inside, f"{kind} between {low:.3g} and {high:.3g}"
        return values.astype(dtype), kind
    if dtype is np.bool_ and not shape and input_dims(graph.inputs[name]) == []:
        return rng.integers(0, 2, count).astype(dtype), "true and false"
    if dtype is np.bool_ or "mask" in name.lower():
        return np.ones((count, *shape), dtype), "ones"
    if "position" in name.lower() and shape:
        return np.broadcast_to(np.arange(shape[-1]), (count, *shape)).astype(dtype), "positions in order"
    size = _vocabulary(graph, name)
    ranks = rng.zipf(1.2, (count, *shape))
    return np.asarray((ranks - 1) % size).astype(dtype), f"Zipf tokens below {size}"


def _range(graph: Graph, name: str) -> tuple[float, float]:
    """The range in which a model that quantises its input expects it; (0, 0) if it doesn't say."""
    for node in graph.consumers.get(name, []):
        if node.op == "QuantizeLinear" and all(i in graph.parameters for i in node.inputs[1:]):
            scale = float(graph.array(node.inputs[1]).max())
            zero = graph.array(node.inputs[2]) if node.input(2) else np.zeros((), np.uint8)
            limits = np.iinfo(zero.dtype) if zero.dtype.kind in "iu" else None
            if limits is not None and zero.size == 1:
                return (limits.min - float(zero)) * scale, (limits.max - float(zero)) * scale
    return 0.0, 0.0


def _floats(count: int, shape: tuple[int, ...], rng: np.random.Generator) -> tuple[Array, str]:
    """A float input of unknown range: standardised, a part of the samples in [0, 1] instead."""
    if len(shape) == 3 and min(sorted(shape)[1:]) >= 8:
        last = shape[-1] <= 4 < shape[0]
        channels, height, width = (shape[2], shape[0], shape[1]) if last else shape
        images = dead_leaves(count, channels, height, width, rng)
        images[1::4] = np.clip(0.5 + 0.25 * images[1::4], 0, 1)
        # a few without any structure, so that nothing is fitted to the leaves alone
        images[::16] = rng.uniform(0, 1, images[::16].shape)
        return (np.moveaxis(images, 1, -1) if last else images), "dead leaves images"
    if shape and shape[-1] >= 256 and len(shape) <= 2:
        values, kind = _signals(count, shape, rng), "1/f noise"
    else:
        values, kind = rng.standard_normal((count, *shape)), "normal and uniform noise"
    values[1::2] = rng.uniform(0, 1, values[1::2].shape)
    return values, kind


def _vocabulary(graph: Graph, name: str) -> int:
    """Rows of the smallest table that the input indexes; 2 if it indexes none."""
    sizes, seen, waiting = list[int](), {name}, [name]
    while waiting:
        at = waiting.pop()
        for node in graph.consumers.get(at, []):
            place = list(node.inputs).index(at)
            table = ""
            if node.op == "Gather" and place == 1:
                table = node.inputs[0]
            elif node.op == "EmbedLayerNormalization" and place < 2:
                table = node.input(2 if place == 0 else 4)
            elif node.op in _SAME_VALUES and place == 0 and node.outputs[0] not in seen:
                seen.add(node.outputs[0])
                waiting.append(node.outputs[0])
            if table in graph.parameters:
                axis = int(node.attr("axis", 0))
                sizes.append(int(graph.shape(table)[axis]))
    return min(sizes, default=2)


def _signals(count: int, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Noise with a 1/f spectrum along the last axis, of unit deviation."""
    spectrum = np.fft.rfft(rng.standard_normal((count, *shape)), axis=-1)
    frequencies = np.maximum(np.arange(spectrum.shape[-1]), 1)
    signal = np.fft.irfft(spectrum / np.sqrt(frequencies), n=shape[-1], axis=-1)
    return np.asarray(signal / (signal.std(-1, keepdims=True) + 1e-9))
