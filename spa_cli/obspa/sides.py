"""The two networks of a walk: the original and the one that was cut, which is repaired."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import numpy as np

from spa_cli.graph.bodies import captured_names
from spa_cli.graph.model import Graph, Node
from spa_cli.graph.view import flattened
from spa_cli.obspa.layers import Layer
from spa_cli.obspa.positions import Positions
from spa_cli.obspa.regression import Regression
from spa_cli.runtime.interpreter import Interpreter
from spa_cli.surgery.cut import Cut


@dataclass
class Repair:
    """What the walk did.

    ``refitted``: layers with new weights and the damping chosen; ``refined``: those of them changed once more for what
    the next layer gives; ``shifted``: layers and norms with a new offset (and scale) only; ``kept``: layers that kept
    their sliced weights, and why. ``dropped``: why all of it was taken back, "" if it was not.
    """

    refitted: dict[str, float] = field(default_factory=dict)
    refined: list[str] = field(default_factory=list)
    shifted: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    dropped: str = ""


@dataclass(frozen=True, eq=False)
class Sides:
    """``dense`` runs ``graph``, the original, ``pruned`` the model of ``work``.

    ``where``: which positions are looked at; ``report``: what was done so far.
    """

    graph: Graph
    work: Cut
    dense: Interpreter
    pruned: Interpreter
    where: Positions
    report: Repair = field(default_factory=Repair)
    _whole: set[str] = field(default_factory=set)

    def run_dense(self, node: Node) -> None:
        """Run a node of the original before its turn, and first what it needs."""
        inside = {o for body in node.bodies for inner in flattened(body.nodes) for o in inner.outputs}
        for name in {*node.inputs, *captured_names(node.proto)} - inside:
            producer = self.graph.producers.get(name)
            if producer is not None and name not in self.dense.values and self.dense.parameter(name) is None:
                self.run_dense(producer)
        self.dense.run(node.proto)

    def run_targets(self, layer: Layer, problem: Regression) -> None:
        """Run what stands behind a layer in the original."""
        for node in layer.around.path[: None if problem.joined or not layer.around.join else -1]:
            self.run_dense(node)

    def has(self, name: str) -> bool:
        """Whether both have the values of a tensor."""
        return name in self.dense.values and name in self.pruned.values

    def same(self, name: str) -> bool:
        """Whether a tensor has the same values in both."""
        return self._untouched(name) or all(map(partial(self._alike, name), range(self.dense.count)))

    def _alike(self, name: str, chunk: int) -> bool:
        before, after = (side.peek([name], chunk)[0] for side in (self.dense, self.pruned))
        return np.array_equal(before, after)

    def _untouched(self, name: str) -> bool:
        """Whether nothing that a tensor is made of was cut or fitted: what is needs no run to be compared."""
        waiting, found = [name], set[str]()
        while waiting:
            each = waiting.pop()
            if each in found or each in self._whole:
                continue
            if self.work.changed(each) or each in self.pruned.replaced or each in self.work.values.edited_parameters:
                return False
            found.add(each)
            node = self.graph.producers.get(each)
            if node is None:
                continue
            if node.proto != self.pruned.producer(each):
                return False
            waiting += filter(None, {*node.inputs, *captured_names(node.proto)})
        # what is fitted later stands behind it
        self._whole.update(found)
        return True
