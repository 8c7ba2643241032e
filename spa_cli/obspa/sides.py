"""The two networks of a walk: the original and the one that was cut, which is repaired."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from spa_cli.graph.bodies import captured_names
from spa_cli.graph.model import Graph, Node
from spa_cli.graph.view import flattened
from spa_cli.obspa.layers import Layer
from spa_cli.obspa.positions import Positions
from spa_cli.obspa.regression import Regression
from spa_cli.runtime.interpreter import Interpreter
from spa_cli.surgery.cut import Cut
from spa_cli.threads import each


@dataclass
class Repair:
    """What the walk did.

    ``refitted``: layers with new weights and the damping chosen; ``refined``: those of them changed once more for what
    the next layer gives; ``shifted``: layers and norms with a new offset (and scale) only; ``kept``: layers that kept
    their sliced weights, and why.
    """

    refitted: dict[str, float] = field(default_factory=dict)
    refined: list[str] = field(default_factory=list)
    shifted: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)


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

        def alike(at: int) -> bool:
            before, after = (side.peek([name], at)[0] for side in (self.dense, self.pruned))
            return np.array_equal(before, after)

        return all(each(alike, range(self.dense.count)))
