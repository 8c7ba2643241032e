"""How long nodes take on a machine that is not at hand, by a profile of it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from spa_cli.analysis import Analysis
from spa_cli.budget.widths import Widths, distinct
from spa_cli.devices.kinds import kind_of
from spa_cli.devices.profiles import Profile
from spa_cli.devices.rounding import Lengths, filled, lengths_of
from spa_cli.errors import UsageError
from spa_cli.graph.model import Node
from spa_cli.operators.contracts import ShapeOf

# an element that a node gives which is no layer takes as long as so many multiply-accumulates: runtimes fuse most of
# them with the layer before
ELEMENT = 1.0
Values = NDArray[np.float64]


class ProfileClock:
    """A layer takes the time of its work with all channels rounded up to whole blocks, other nodes that of elements.

    The unit is a multiply-accumulate; a second where the profile tells what layers take: then the listed ones take that
    at full width, and all others as much for their work as the listed ones do together. Raises UsageError where none of
    those is in the model.
    """

    def __init__(self, profile: Profile, analysis: Analysis) -> None:
        self._costs = analysis.costs
        self._counted = {*analysis.costs.nodes}
        skipped = {*self._counted, *analysis.costs.skipped}
        others = [n for n in analysis.graph.nodes if n not in skipped and n.outputs and n.outputs[0] and not n.bodies]
        self.nodes = [*analysis.costs.nodes, *others]
        widths = Widths(analysis.grouping)
        self._blocks: dict[Node, tuple[Lengths, int]] = {}
        whole: dict[Node, float] = {}
        for node in self.nodes:
            whole[node] = self.work(node, self._costs.dense)
            if node not in self._counted:
                continue
            kind = kind_of(node, self._costs.dense)
            axes = widths.axes([n for n in (*node.inputs, *node.outputs) if n], self._costs.dense)
            rows = distinct(axes)
            at = {id(r): i for i, r in enumerate(rows)}
            lengths = lengths_of(node, kind, {place: at[id(r)] for place, r in axes.items()}, self._costs.dense)
            self._blocks[node] = lengths, profile.multiples[kind]
            sizes = {at[id(r)]: self._costs.dense(name)[axis] for (name, axis), r in axes.items()}
            uncut = np.array([[sizes[i]] for i in range(len(rows))], np.int64).reshape(-1, 1)
            whole[node] *= float(np.max(filled(lengths(uncut), profile.multiples[kind])))
        self._each = _each(profile, analysis, whole)

    def work(self, node: Node, shape: ShapeOf) -> float:
        """Multiply-accumulates, in all turns of the body that a layer is in; of other nodes their elements' worth."""
        if node in self._counted:
            return float(self._costs.macs_of(node, shape))
        return ELEMENT * math.prod(shape(node.outputs[0]))

    def seconds(self, node: Node, work: Values, widths: NDArray[np.int64]) -> Values:
        """(k,) for ``work`` (k,) at ``widths`` (a, k)."""
        if node not in self._blocks:
            return work * self._each[node]
        lengths, multiple = self._blocks[node]
        return np.asarray(work * self._each[node] * filled(lengths(widths), multiple), np.float64)


def _each(profile: Profile, analysis: Analysis, whole: dict[Node, float]) -> dict[Node, float]:
    """What a multiply-accumulate of each node takes; ``whole``: how many those of the whole model are."""
    listed = {n: profile.layers[name] * 1e-3 for n in whole for name in (n.name, n.label) if name in profile.layers}
    if profile.layers and not listed:
        first = next(iter(profile.layers))
        raise UsageError(
            f"none of the layers of the device '{profile.name}' is in '{analysis.source.name}' (the first is "
            f"'{first}'); name nodes of the model as 'spa inspect --json' does"
        )
    rate = sum(listed.values()) / (sum(whole[n] for n in listed) or 1.0) if listed else 1.0
    return {n: listed[n] / (whole[n] or 1.0) if n in listed else rate for n in whole}
