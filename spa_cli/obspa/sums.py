"""What is added up for a layer while the dense network runs: its statistics in the making."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from spa_cli.calibration.chunks import positions
from spa_cli.graph.model import Array, Graph
from spa_cli.obspa.layers import INTEGERS, Layer
from spa_cli.obspa.moments import Moments
from spa_cli.obspa.positions import Positions
from spa_cli.obspa.statistics import Statistics
from spa_cli.runtime.store import Store


class Used(NamedTuple):
    """A layer with statistics; ``sizes`` of its matrix (g, o, p) and of its operand."""

    layer: Layer
    sizes: tuple[int, ...]
    operand: tuple[int, ...]
    matrix: Callable[[], Array]


class Sums:
    """What is added up for one layer."""

    def __init__(self, graph: Graph, used: Used, where: Positions, samples: int) -> None:
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
