"""How much the network's own outputs feel what a layer gives: in which directions, and at which positions.

An error ``e`` of a layer's output moves the outputs ``z`` by ``J e``; they feel it as ``e^T J^T D J e``. No labels say
what matters in ``z``, so ``D`` is made of the outputs alone: an element counts by how far it is from the mean of its
channel (a detector's objects, not its background; the tokens and classes that were decided on), a channel by the root
of its variance. With signs ``s`` drawn at random, ``g = J^T D^(1/2) s`` has the second moment ``J^T D J``
(Hutchinson 1990): one run of the adjoint network a sample.

``metric`` is that moment over positions, ``G = E[g g^T]``: with it saliency is ``tr(G W_c V_cc^-1 W_c^T)``, the
Kronecker-factored form of the loss's curvature (Martens and Grosse 2015). Its scale is left out: errors of positions
and layers are not independent, and relative to the variance of what they are added into they compare better.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from spa_cli.adjoints.network import Adjoint, adjoint
from spa_cli.calibration.chunks import fixed_size, samples_in
from spa_cli.engines.pool import ahead, pool
from spa_cli.errors import SpreadError
from spa_cli.graph.model import Array, Graph
from spa_cli.graph.shapes import Shapes
from spa_cli.memory import portion
from spa_cli.obspa.layers import Layer, graph_shape
from spa_cli.operators.labels import axis_of
from spa_cli.progress import tracked
from spa_cli.runtime.floats import last_floats
from spa_cli.runtime.portable import Portable
from spa_cli.runtime.probe import probe
from spa_cli.runtime.said import said

# outputs of a layer up to which directions among them are told apart: it takes their square, and its roots their cube
_WIDEST, _SHARE = 4096, 1 / 8
# axes of an output that gives a sample one answer: samples, and its numbers
ONE_ANSWER = 2
# bytes of gradients that are held at once
_BYTES = 256_000_000
_SATURATING = frozenset({"Softmax", "LogSoftmax", "Sigmoid", "HardSigmoid", "Tanh"})
# of a position's chance to be drawn, what every one has alike
_ALIKE = 0.5


@dataclass
class Sensitivity:
    """``metric``: (g, o, o) per layer, where there is one (not of very wide ones). ``chances``: per layer and chunk of
    samples how likely each position is to be looked at, (n, positions), a sample's adding up to 1.
    ``missing``: layers without gradients, and why.
    """

    metric: dict[str, Array] = field(default_factory=dict)
    chances: dict[str, list[Array]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def packed(self) -> dict[str, Array]:
        """All of it as arrays."""
        about = {
            "metric": [*self.metric],
            "chances": {k: len(c) for k, c in self.chances.items()},
            "missing": self.missing,
        }
        arrays = {f"metric/{i}": value for i, value in enumerate(self.metric.values())}
        for i, own in enumerate(self.chances.values()):
            arrays |= {f"chances/{i}/{at}": value for at, value in enumerate(own)}
        return {**arrays, "about": np.array(json.dumps(about))}

    @staticmethod
    def unpacked(arrays: Mapping[str, Array]) -> Sensitivity:
        """What was ``packed``."""
        about = json.loads(str(arrays["about"]))
        metric = {key: arrays[f"metric/{i}"] for i, key in enumerate(about["metric"])}
        chances = {
            key: [arrays[f"chances/{i}/{at}"] for at in range(count)]
            for i, (key, count) in enumerate(about["chances"].items())
        }
        return Sensitivity(metric, chances, about["missing"])


class Channels:
    """Mean and variance of an output's channels: along its last axis, of more than three along its second."""

    def __init__(self, rank: int) -> None:
        self._axis = _channel_axis(rank)
        self._sums: Array | None = None

    @staticmethod
    def sums(output: Array) -> Array:
        """(3, channels): count, sum and sum of squares."""
        axis = _channel_axis(np.ndim(output))
        flat = np.moveaxis(output, axis, -1).reshape(-1, output.shape[axis]).astype(np.float64)
        return np.stack([np.full(flat.shape[1], float(len(flat))), flat.sum(0), np.square(flat).sum(0)])

    def add(self, sums: Array) -> None:
        """Those of one more run."""
        self._sums = sums if self._sums is None or sums.shape != self._sums.shape else self._sums + sums

    def weights(self, output: Array) -> Array:
        """``D^(1/2)``, element by element."""
        assert self._sums is not None
        count, total, squares = self._sums
        mean = total / count
        variance = squares / count - np.square(mean)
        floor = max(1e-6 * float(variance.mean()), 1e-30)
        variance = np.maximum(variance, floor)
        moved = np.abs(np.moveaxis(output, self._axis, -1) - mean) / variance**0.75
        return np.asarray(np.moveaxis(moved, -1, self._axis).astype(output.dtype))


def _channel_axis(rank: int) -> int:
    return 1 if rank > 3 else -1


def sensitivity(
    graph: Graph, shapes: Shapes, layers: list[Layer], chunks: list[dict[str, Array]], seed: int
) -> Sensitivity:
    """Of the layers, measured on all samples, where outputs have positions: nothing where a sample gets one answer.

    There the metric orders channels no better: at 0.7 of the MACs MobileNetV2 keeps 74.6 % with it and 75.6
    without, ResNet-20 88.0 and 87.5 at half, ResNet-56 the same 89.1 at a third (``make bench-ablation``). ``missing``
    names all layers where the adjoint network does not run.
    """
    outputs = [*dict.fromkeys(_unsaturated(graph, name) for name in last_floats(graph, shapes))]
    if not any(len(shapes.shape.get(n) or ()) > ONE_ANSWER for n in outputs):
        return Sensitivity()
    back = adjoint(graph, shapes, [layer.key for layer in layers], outputs)
    known = [layer for layer in layers if layer.key in back.gradients and not layer.recurrent and not layer.transposed]
    if not known:
        return Sensitivity(missing=back.missing)
    free = not any(fixed_size(graph, name) for name in graph.inputs)
    parts = list(_parts(chunks, _each(known, shapes), free))
    try:
        groups = [layer.groups(*(graph_shape(graph, shapes, n) for n in (layer.x, layer.operand))) for layer in known]
        narrow = _narrow(known, shapes)
        asked = [_Asked(k, g, back.gradients[k.key], k.key in narrow) for k, g in zip(known, groups, strict=True)]
        passes = _Passes(graph, outputs, back, asked, parts)
        metric, chances = _measured(passes, asked, parts, np.random.default_rng(seed))
    except SpreadError:
        # it is not the network that does not run
        raise
    except Exception as error:  # noqa: BLE001 - whatever onnxruntime raises: the layers are scored without
        return Sensitivity(missing={layer.key: said(error) for layer in layers})
    return Sensitivity(metric, chances, back.missing)


def _unsaturated(graph: Graph, output: str) -> str:
    """What an output is made of, where that is squeezed into a range: there certain answers have no slope."""
    node = graph.producers.get(output)
    while node is not None and node.op in _SATURATING and not node.domain and node.inputs[0] not in graph.inputs:
        output = node.inputs[0]
        node = graph.producers.get(output)
    return output


@dataclass(frozen=True, eq=False)
class _Part:
    """Samples of one run, and the chunk they are of."""

    feeds: dict[str, Array]
    chunk: int


def _each(layers: list[Layer], shapes: Shapes) -> int:
    """Bytes that the gradients of a sample take."""
    sizes = (shapes.shape.get(layer.key) or () for layer in layers)
    return max(1, sum(4 * math.prod(d or 1 for d in size[1:]) for size in sizes))


def _parts(chunks: list[dict[str, Array]], each: int, free: bool) -> Iterator[_Part]:
    """Chunks, cut where their gradients would take too much and the batch is ``free``."""
    size = max(1, _BYTES // each)
    for at, chunk in enumerate(chunks):
        count = samples_in(chunk)
        cuts = free and all(np.ndim(v) and len(v) == count for v in chunk.values())
        for start in range(0, count, size) if cuts else [0]:
            yield _Part({n: v[start : start + size] for n, v in chunk.items()} if cuts else chunk, at)


class _Asked(NamedTuple):
    """A layer, in how many ``groups``, the tensor of its gradient, and whether directions are told apart."""

    layer: Layer
    groups: int
    gradient: str
    narrow: bool


class _Passes:
    """Both networks, and the samples of every run, wherever those are."""

    def __init__(
        self, graph: Graph, outputs: list[str], back: Adjoint, asked: list[_Asked], parts: list[_Part]
    ) -> None:
        self.pool, self.outputs = pool(), outputs
        self.forward = self.pool.send(Portable(graph, probe(graph.to_run(), outputs), "all"))
        self.back = self.pool.send(Portable(graph, back.model, "all"))
        self.asked, self.cotangents = self.pool.send(asked), [back.cotangents[name] for name in outputs]
        self.feeds = [self.pool.send(part.feeds) for part in parts]

    def outputs_of(self) -> tuple[list[Channels], list[list[tuple[int, ...]]]]:
        """What is known of the outputs over all runs, and their shapes in each."""
        found, shapes = list[Channels](), list[list[tuple[int, ...]]]()
        for run in ahead(self.pool.call(_seen, self.forward, self.outputs, feeds) for feeds in self.feeds):
            seen = self.pool.get(run)
            found = found or [Channels(len(shape)) for shape, _ in seen]
            for channels, (_, sums) in zip(found, seen, strict=True):
                channels.add(sums)
            shapes.append([shape for shape, _ in seen])
        return found, shapes

    def begun(self, rng: np.random.Generator) -> Iterator[Any]:
        """What every run adds (``_felt``), in order; signs are those of one process, which draws run after run."""
        channels, shapes = self.outputs_of()
        known = self.pool.send(channels)
        for feeds, own in zip(self.feeds, shapes, strict=True):
            given = deepcopy(rng) if self.pool.spread else rng
            how = (self.forward, self.back, self.outputs, self.cotangents, known, self.asked)
            yield self.pool.each(_felt, *how, feeds, given)
            for shape in own if self.pool.spread else ():
                _signs(rng, shape, np.dtype(np.float32))


def _seen(forward: Portable, outputs: list[str], feeds: dict[str, Array]) -> list[tuple[tuple[int, ...], Array]]:
    values = map(np.asarray, forward.run(outputs, feeds))
    return [(value.shape, Channels.sums(value)) for value in values]


def _signs(rng: np.random.Generator, shape: tuple[int, ...], kind: np.dtype[Any]) -> Array:
    return rng.choice(np.array([-1, 1], kind), shape)


def _felt(
    forward: Portable,
    back: Portable,
    outputs: list[str],
    cotangents: list[str],
    channels: list[Channels],
    asked: list[_Asked],
    feeds: dict[str, Array],
    rng: np.random.Generator,
) -> Iterator[tuple[Array | None, Array | None]]:
    """Of every layer sums of ``g g^T`` over the positions of a run (g, o, o), and the chances of these."""
    given = dict(feeds)
    values = forward.run(outputs, feeds)
    for known, name, value in zip(channels, cotangents, values, strict=True):
        weights = known.weights(np.asarray(value))
        given[name] = weights * _signs(rng, weights.shape, weights.dtype)
    gradients = back.run([each.gradient for each in asked], given)
    for (layer, groups, _, narrow), gradient in zip(asked, gradients, strict=True):
        rows = layer.outputs_at(np.asarray(gradient, np.float32), None, groups)
        total = np.matmul(rows.transpose(0, 2, 1), rows) if narrow else None
        if not layer.batch_first:
            yield total, None
            continue
        felt = np.square(rows).sum((0, 2)).reshape(len(np.asarray(gradient)), -1)
        alike = np.full(felt.shape, 1 / felt.shape[1], np.float32)
        share = felt / np.maximum(felt.sum(1, keepdims=True), 1e-30)
        yield total, (_ALIKE * alike + (1 - _ALIKE) * share).astype(np.float32)


def _measured(
    passes: _Passes, asked: list[_Asked], parts: list[_Part], rng: np.random.Generator
) -> tuple[dict[str, Array], dict[str, list[Array]]]:
    """Sums over samples and positions of ``g g^T`` (g, o, o), and the chances of positions, chunk by chunk."""
    moments, chances = dict[str, Array](), dict[str, list[Array]]()
    progress = tracked(parts)
    for run in ahead(passes.begun(rng)):
        part = next(progress)
        for each, (total, chance) in zip(asked, passes.pool.get(run), strict=True):
            key = each.layer.key
            if total is not None:
                moments[key] = moments.get(key, 0.0) + total.astype(np.float64)
            if chance is not None:
                own = chances.setdefault(key, [])
                if len(own) > part.chunk:
                    own[part.chunk] = np.concatenate([own[part.chunk], chance])
                else:
                    own.append(chance)
    next(progress, None)
    # squares of large gradients are more than single precision holds
    sound = {key for key, own in chances.items() if all(np.isfinite(c).all() for c in own)}
    metric = {key: total for key, total in moments.items() if np.isfinite(total).all()}
    return metric, {key: own for key, own in chances.items() if key in sound}


def _narrow(layers: list[Layer], shapes: Shapes) -> set[str]:
    """Layers of which directions are told apart, by key: the narrowest, as many as memory allows."""
    found, room = set[str](), portion(_SHARE)
    for layer in sorted(layers, key=partial(_outputs, shapes=shapes)):
        width = _outputs(layer, shapes)
        room -= 8 * width**2
        if width > _WIDEST or room < 0:
            break
        found.add(layer.key)
    return found


def _outputs(layer: Layer, shapes: Shapes) -> int:
    axes = [axis_of(layer.terms.y, label) for label in layer.terms.outer]
    shape = shapes.shape.get(layer.key) or ()
    return math.prod(int(shape[axis] or 1) for axis in axes if axis < len(shape))


def root(metric: Array) -> Array:
    """``R`` (g, o, o) with ``R^T R = G``."""
    values, vectors = np.linalg.eigh(metric)
    return np.asarray(np.sqrt(np.maximum(values, 0))[..., None] * vectors.swapaxes(-1, -2))
