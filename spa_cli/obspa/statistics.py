"""Statistics of the dense network: one run over the calibration data, accumulated chunk by chunk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spa_cli.calibration.chunks import positions, samples_in
from spa_cli.errors import UsageError
from spa_cli.graph.known import Read
from spa_cli.graph.model import Array, Graph
from spa_cli.graph.shapes import Shapes
from spa_cli.obspa.layers import INTEGERS, Layer, graph_shape
from spa_cli.obspa.moments import Moments
from spa_cli.obspa.positions import Positions
from spa_cli.progress import tracked
from spa_cli.runtime.probe import probe
from spa_cli.runtime.providers import chosen
from spa_cli.runtime.said import said
from spa_cli.runtime.session import open_session

# a Hessian of this many coordinates takes half a gigabyte
WIDEST = 8192


@dataclass
class Statistics:
    """Of one layer: moments of its input, variance (summed over channels) of its target, energy per output channel.

    ``weight``: its ``W`` (g, o, p), of an operand of that ``shape``. ``hidden``: moments of a recurrent layer's units,
    (directions, h, h).
    """

    weight: Array
    shape: tuple[int, ...]
    moments: Moments
    spread: float
    energy: Array
    hidden: Moments | None = None

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
    widest: int = WIDEST,
) -> dict[str, Statistics]:
    """One run of the dense network with the layers' inputs and targets as extra outputs; statistics per layer key.

    Memory does not grow with the number of chunks. Layers with more than ``widest`` inputs have no statistics, nor have
    those whose weights are not all numbers.
    """

    def shape_of(name: str) -> tuple[int, ...]:
        return graph_shape(graph, shapes, name)

    samples = sum(map(samples_in, chunks))
    weights: dict[str, Array] = {}
    sizes: dict[str, tuple[int, ...]] = {}
    used: list[Layer] = []
    for layer in layers:
        operand = layer.weight(reader(graph), shape_of)
        if operand is None or not shape_of(layer.x):
            continue
        matrix = layer.matrix(operand, layer.groups(shape_of(layer.x), operand.shape))
        if matrix.shape[2] <= widest and np.isfinite(matrix).all():
            weights[layer.key], sizes[layer.key] = matrix, operand.shape
            used.append(layer)
    if not used:
        return {}
    moments = {layer.key: Moments() for layer in used}
    hidden = {layer.key: Moments() for layer in used if layer.recurrent and layer.node.outputs[0]}
    sums: dict[str, list[Array]] = {}
    names = {n for s in used for n in (s.x, s.around.target, s.around.after_norm)} - set(graph.inputs)
    wanted = sorted(names - set(graph.parameters))
    session = open_session(probe(graph.in_memory(), wanted, beside=True), providers=chosen(), arena=False)
    for at, chunk in enumerate(tracked(chunks)):
        try:
            values = {**chunk, **(dict(zip(wanted, session.run(wanted, chunk), strict=True)) if wanted else {})}
        except Exception as error:
            raise UsageError(
                f"the model does not run on one of the calibration samples ({said(error)}); give samples it takes"
            ) from error
        for layer in used:
            x = np.asarray(values[layer.x])
            if not layer.takes(x):
                continue
            limit = positions(samples, weights[layer.key].shape[2])
            rows = where.of(layer, at, x.shape, limit)
            zero = graph.array(layer.zeros[0]) if layer.zeros[0] in graph.parameters else None
            inputs = layer.inputs_at(x, rows, len(weights[layer.key]), zero)
            moments[layer.key].add(inputs, layer.samples(x.shape))
            after = values[layer.around.after_norm]
            for name in {layer.around.target, layer.around.after_norm}:
                if not layer.recurrent and layer.gives(after) and values[name].shape == after.shape:
                    drawn = rows if rows is not None and rows.ndim == 2 else None
                    sums.setdefault(f"{layer.key}/{name}", []).append(_channel_sums(layer, values[name], drawn))
        for key, units in hidden.items():
            # (steps, directions, batch, h)
            steps = np.moveaxis(values[key], 1, 0)
            units.add(steps.reshape(len(steps), -1, steps.shape[-1]), steps.shape[2])
    totals = {n: np.sum(s, 0) for n, s in sums.items()}
    return {
        s.key: _statistics(graph, s, weights[s.key], sizes[s.key], moments[s.key], hidden.get(s.key), totals)
        for s in used
        if moments[s.key].n
    }


def reader(graph: Graph) -> Read:
    """Reads a parameter of the dense graph by name, ``None`` if there is none."""
    return lambda name: graph.array(name) if name in graph.parameters else None


def _statistics(
    graph: Graph,
    layer: Layer,
    weight: Array,
    shape: tuple[int, ...],
    x: Moments,
    hidden: Moments | None,
    totals: dict[str, Array],
) -> Statistics:
    own = np.einsum("gop,gpq,goq->go", weight, x.h, weight, optimize=True)
    spread, energy = float(own.sum()), own.reshape(-1)
    target = totals.get(f"{layer.key}/{layer.around.target}")
    after = totals.get(f"{layer.key}/{layer.around.after_norm}")
    if target is not None and layer.unfit != INTEGERS:
        spread = float((target[2] / target[0] - np.square(target[1] / target[0])).sum())
    if after is not None:
        energy = after[2] / after[0]
    if hidden is not None and layer.node.inputs[2] in graph.parameters:
        r = graph.array(layer.node.inputs[2]).astype(np.float64)
        spread += float(np.einsum("dop,dpq,doq->", r, hidden.h, r, optimize=True))
    return Statistics(weight, shape, x, max(spread, 1e-12), energy, hidden)


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
