"""What is added up for a layer while the dense network runs: its statistics in the making."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from spa_cli.calibration.chunks import positions
from spa_cli.graph.model import Array, Graph
from spa_cli.obspa.gather import Gathered, Reading, Shifts, add
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

    @property
    def reading(self) -> Reading:
        """What it takes to gather what a chunk gives."""
        layer, graph = self._used.layer, self._graph
        zero = graph.array(layer.zeros[0]) if layer.zeros[0] in graph.parameters else None
        return Reading(layer, self._used.sizes[0], zero)

    def draw(self, at: int, shape: tuple[int, ...]) -> Array | None:
        """The positions of the ``at``-th chunk that are looked at, for an input of that shape; ``None``: all."""
        return self._where.of(self._used.layer, at, shape, positions(self._samples, self._used.sizes[2]))

    def add(self, found: Gathered) -> None:
        """What the next chunk gives."""
        if self._units is not None:
            add(self._units, found.units, found.sequences)
        add(self.moments, found.rows, found.samples)
        for name, total in found.totals.items():
            self._totals.setdefault(name, []).append(total)

    @property
    def shifts(self) -> Shifts:
        """As far as they are known."""
        return self.moments.shift, None if self._units is None else self._units.shift

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
