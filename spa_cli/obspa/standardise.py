"""Samples that are not the training data: let every BatchNorm see what it saw in training.

A BatchNorm promises its output a mean and a deviation; on other data it breaks the promise, and curvature measured
behind it is that of a network nobody trained. The statistics are replaced by those of the samples, layer by layer,
the network is pruned and repaired like that, and the old statistics come back at the end.
"""

from __future__ import annotations

import numpy as np

from spa_cli.graph.model import Array, Graph
from spa_cli.graph.view import build
from spa_cli.runtime.interpreter import Interpreter, last_uses
from spa_cli.runtime.store import Store
from spa_cli.surgery.cut import Cut
from spa_cli.surgery.remaining import gather


class Standardised:
    """The dense network with the statistics of the samples in its BatchNorms."""

    def __init__(self, graph: Graph, chunks: list[dict[str, Array]], memory: float) -> None:
        self._original = graph
        self._statistics: dict[str, Array] = {}
        model = graph.in_memory()
        side = Interpreter(model, graph.folder, chunks, Store(memory))
        ends = last_uses(graph)
        for at, (node, proto) in enumerate(zip(graph.nodes, model.graph.node, strict=True)):
            if node.op == "BatchNormalization" and all(len(graph.consumers.get(i, ())) == 1 for i in node.inputs[3:5]):
                self._replace(side, node.inputs[0], node.inputs[3], node.inputs[4])
            side.run(proto)
            for name in ends.get(at, ()):
                side.drop(name)
        self.graph = build(model, graph.folder)

    def _replace(self, side: Interpreter, x: str, mean: str, variance: str) -> None:
        if side.parameter(mean) is None or side.parameter(variance) is None:
            return
        values = side.values[x]
        count = sum(len(_rows(v)) for v in values)
        middle = np.sum([_rows(v).sum(0) for v in values], 0) / count
        spread = np.sum([np.square(_rows(v) - middle).sum(0) for v in values], 0) / count
        for name, value in ((mean, middle), (variance, spread)):
            side.write(name, value)
            found = side.parameter(name)
            assert found is not None
            self._statistics[name] = found

    def put(self, work: Cut) -> None:
        """The statistics of the samples in a cut model."""
        self._write(work, self._statistics)

    def take_back(self, work: Cut) -> None:
        """The statistics of the training data in a cut model."""
        self._write(work, {n: self._original.array(n) for n in self._statistics})

    def _write(self, work: Cut, values: dict[str, Array]) -> None:
        side = Interpreter(work.model, self._original.folder, [{}])
        for name, value in values.items():
            if side.parameter(name) is None:
                # of a block that went whole
                continue
            side.write(name, gather(value, work.kept_indices(name)))


def _rows(value: Array) -> Array:
    """(rows, channels)."""
    return np.moveaxis(value, 1, -1).reshape(-1, value.shape[1]).astype(np.float64)
