"""Statistics of the dense network: one run over the calibration data, accumulated chunk by chunk."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from spa_cli.calibration.chunks import positions, samples_in
from spa_cli.errors import UsageError
from spa_cli.graph.known import Read
from spa_cli.graph.model import Array, Graph
from spa_cli.graph.shapes import Shapes
from spa_cli.memory import working_memory
from spa_cli.obspa.layers import INTEGERS, Layer, graph_shape
from spa_cli.obspa.moments import Moments
from spa_cli.obspa.positions import Positions
from spa_cli.obspa.wide import widest
from spa_cli.operators.contracts import ShapeOf
from spa_cli.progress import tracked
from spa_cli.runtime.probe import probe
from spa_cli.runtime.said import said
from spa_cli.runtime.session import graph_session
from spa_cli.runtime.store import Store
from spa_cli.runtime.stretches import Stretch, in_stretches, stretches

# of the memory there is, what is fetched in one run may take, and what is kept of moments and of activations
_SHARE = 1 / 4


@dataclass
class Statistics:
    """Of one layer: moments of its input, variance (summed over channels) of its target, energy per output channel.

    ``matrix``: reads its ``W`` of that ``size`` (g, o, p), which is an operand of that ``shape``. ``hidden``: moments
    of a recurrent layer's units, (directions, h, h).
    """

    matrix: Callable[[], Array]
    size: tuple[int, ...]
    shape: tuple[int, ...]
    moments: Moments
    spread: float
    energy: Array
    hidden: Moments | None = None

    @property
    def weight(self) -> Array:
        """``W``, read anew: of a large network those of all layers are more than fits."""
        return self.matrix()

    @property
    def finite(self) -> bool:
        """Whether all of it are numbers: squares of large activations are more than single precision holds."""
        units = np.zeros(0) if self.hidden is None else self.hidden.h
        return all(np.isfinite(v).all() for v in (self.moments.h, self.energy, self.spread, units))


def collect(
    graph: Graph,
    shapes: Shapes,
    layers: list[Layer],
    chunks: list[dict[str, Array]],
    where: Positions,
    most: int | None = None,
) -> dict[str, Statistics]:
    """One run of the dense network with the layers' inputs and targets fetched; statistics per layer key.

    Memory grows neither with the number of chunks nor with the depth of the network: where all of it does not fit, it
    is run stretch by stretch, and moments go to disk. Layers with more than ``most`` inputs (``None``: what memory
    allows) have no statistics, nor have those whose weights are not all numbers.
    """
    used = _used(graph, shapes, layers, most or widest())
    if not used:
        return {}
    room, count = working_memory() * _SHARE, max(map(samples_in, chunks))
    store = Store(room)

    def size(name: str) -> int:
        return 4 * math.prod(d or 1 for d in graph_shape(graph, shapes, name)[1:]) * count

    requests = [_fetched(graph, each.layer) for each in used]
    parts = stretches(graph, requests, size, room)
    found: dict[str, Statistics] = {}
    progress = tracked(range(len(parts) * len(chunks)))
    for served, run in _runs(graph, chunks, parts, requests, store):
        sums = {i: _Sums(graph, used[i], where, sum(map(samples_in, chunks))) for i in served}
        for at, values in enumerate(run):
            next(progress)
            for i in served:
                sums[i].add(at, {**chunks[at], **values})
        for i in served:
            if sums[i].moments.n:
                found[used[i].layer.key] = sums[i].statistics(store)
    next(progress, None)
    return {each.layer.key: found[each.layer.key] for each in used if each.layer.key in found}


class _Used(NamedTuple):
    """A layer with statistics; ``sizes`` of its matrix (g, o, p) and of its operand."""

    layer: Layer
    sizes: tuple[int, ...]
    operand: tuple[int, ...]
    matrix: Callable[[], Array]


def _used(graph: Graph, shapes: Shapes, layers: list[Layer], most: int) -> list[_Used]:
    def shape_of(name: str) -> tuple[int, ...]:
        return graph_shape(graph, shapes, name)

    found = []
    for layer in layers:
        operand = layer.weight(reader(graph), shape_of)
        if operand is None or not shape_of(layer.x):
            continue
        groups = layer.groups(shape_of(layer.x), operand.shape)
        matrix = layer.matrix(operand, groups)
        if matrix.shape[2] <= most and np.isfinite(matrix).all():
            found.append(_Used(layer, matrix.shape, operand.shape, partial(_matrix, graph, layer, shape_of, groups)))
    return found


def _matrix(graph: Graph, layer: Layer, shape_of: ShapeOf, groups: int) -> Array:
    operand = layer.weight(reader(graph), shape_of)
    assert operand is not None
    return layer.matrix(operand, groups)


def _fetched(graph: Graph, layer: Layer) -> list[str]:
    """Tensors that the statistics of a layer are made of, but inputs and weights of the network."""
    units = [layer.node.outputs[0]] if layer.recurrent and layer.node.outputs[0] else []
    names = dict.fromkeys([layer.x, layer.around.target, layer.around.after_norm, *units])
    return [n for n in names if n not in graph.inputs and n not in graph.parameters]


def _runs(
    graph: Graph, chunks: list[dict[str, Array]], parts: list[Stretch], requests: list[list[str]], store: Store
) -> Iterator[tuple[tuple[int, ...], Iterator[dict[str, Array]]]]:
    """The layers that every stretch serves, and the values fetched, chunk by chunk."""
    if len(parts) > 1:
        for part, run in in_stretches(graph, chunks, parts, store):
            yield part.served, _taken(run)
        return
    wanted = sorted({n for names in requests for n in names})
    session = graph_session(graph, probe(graph.to_run(), wanted, beside=True), arena=False)
    runs = (dict(zip(wanted, session.run(wanted, chunk), strict=True)) if wanted else {} for chunk in chunks)
    yield parts[0].served, _taken(runs)


def _taken(run: Iterator[dict[str, Array]]) -> Iterator[dict[str, Array]]:
    try:
        yield from run
    except Exception as error:
        raise UsageError(
            f"the model does not run on one of the calibration samples ({said(error)}); give samples it takes"
        ) from error


class _Sums:
    """What is added up for one layer."""

    def __init__(self, graph: Graph, used: _Used, where: Positions, samples: int) -> None:
        self._graph, self._used, self._where, self._samples = graph, used, where, samples
        layer = used.layer
        self.moments = Moments()
        self._units = Moments() if layer.recurrent and layer.node.outputs[0] else None
        self._totals: dict[str, list[Array]] = {}

    def add(self, at: int, values: dict[str, Array]) -> None:
        """What one chunk of samples gives, the ``at``-th."""
        layer, graph = self._used.layer, self._graph
        groups, _, width = self._used.sizes
        if self._units is not None:
            # (steps, directions, batch, h)
            steps = np.moveaxis(values[layer.node.outputs[0]], 1, 0)
            self._units.add(steps.reshape(len(steps), -1, steps.shape[-1]), steps.shape[2])
        x = np.asarray(values[layer.x])
        if not layer.takes(x):
            return
        rows = self._where.of(layer, at, x.shape, positions(self._samples, width))
        zero = graph.array(layer.zeros[0]) if layer.zeros[0] in graph.parameters else None
        self.moments.add(layer.inputs_at(x, rows, groups, zero), layer.samples(x.shape))
        after = values[layer.around.after_norm]
        for name in {layer.around.target, layer.around.after_norm}:
            if not layer.recurrent and layer.gives(after) and values[name].shape == after.shape:
                drawn = rows if rows is not None and rows.ndim == 2 else None
                self._totals.setdefault(name, []).append(_channel_sums(layer, values[name], drawn))

    def _own(self, weight: Array) -> Array:
        """Variance of what every output has of the input alone."""
        own = np.einsum("gop,gpq,goq->go", weight, self.moments.h, weight, optimize=True)
        return np.asarray(own.reshape(-1))

    def statistics(self, store: Store) -> Statistics:
        """All of it; moments are kept in ``store``."""
        used, layer = self._used, self._used.layer
        totals = {n: np.sum(s, 0) for n, s in self._totals.items()}
        target, after = totals.get(layer.around.target), totals.get(layer.around.after_norm)
        target = None if layer.unfit == INTEGERS else target
        own = np.zeros(1) if target is not None and after is not None else self._own(used.matrix())
        spread, energy = float(own.sum()), own
        if target is not None:
            spread = float((target[2] / target[0] - np.square(target[1] / target[0])).sum())
        if after is not None:
            energy = after[2] / after[0]
        if self._units is not None and layer.node.inputs[2] in self._graph.parameters:
            r = self._graph.array(layer.node.inputs[2]).astype(np.float64)
            spread += float(np.einsum("dop,dpq,doq->", r, self._units.h, r, optimize=True))
        self.moments.rest(store)
        return Statistics(used.matrix, used.sizes, used.operand, self.moments, max(spread, 1e-12), energy, self._units)


def reader(graph: Graph) -> Read:
    """Reads a parameter of the dense graph by name, ``None`` if there is none."""
    return lambda name: graph.array(name) if name in graph.parameters else None


def _channel_sums(layer: Layer, value: Array, rows: Array | None) -> Array:
    """(3, channels): count, sum and sum of squares per output channel."""
    if rows is None and (layer.conv or layer.transposed):
        each = value.reshape(*value.shape[:2], -1).astype(np.float32, copy=False)
        count, first = float(len(each) * each.shape[2]), each.sum(2)
        second = np.einsum("ncp,ncp->nc", each, each)
        return np.stack([np.full(each.shape[1], count), *(s.sum(0, dtype=np.float64) for s in (first, second))])
    whole = layer.outputs_at(value, rows, 1)
    groups, _, width = whole.shape
    flat = np.moveaxis(whole, 0, 1).reshape(-1, groups * width).astype(np.float64)
    return np.stack([np.full(flat.shape[1], float(len(flat))), flat.sum(0), np.square(flat).sum(0)])
