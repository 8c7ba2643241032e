"""How long nodes take at other widths than their own, from what was measured at some."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spa_cli.devices.kinds import leaders
from spa_cli.devices.measure import work_of
from spa_cli.devices.table import CLASSES, Table, class_of
from spa_cli.graph.model import Node
from spa_cli.operators.contracts import ShapeOf

# a width of another class costs at least as much and at most so many times more
_DEAREST = 8.0
Values = NDArray[np.float64]


class MeasuredClock:
    """Of this machine. A node takes what a line through its measured work says, times what its widths cost.

    What widths cost is told by each layer together with the nodes that follow it, which onnxruntime fuses with it or
    not, as their widths are.
    """

    def __init__(self, table: Table, nodes: Sequence[Node]) -> None:
        whole = table.runs[0]
        shares = Counter(node.label for node in nodes)
        self.nodes = [n for n in nodes if n.label in whole.work]
        leader_of = leaders(self.nodes)
        self._lines = {n.label: _line(table, n.label, shares[n.label]) for n in self.nodes}
        followers: dict[str, list[str]] = defaultdict(list)
        for label, leader in leader_of.items():
            followers[leader].append(label)
        found = {leader: costs_of(table, leader, labels) for leader, labels in followers.items()}
        self._costs = {label: found[leader] for label, leader in leader_of.items()}

    def work(self, node: Node, shape: ShapeOf) -> float:
        """Multiply-accumulates, or elements."""
        return work_of(node, shape)

    def seconds(self, node: Node, work: Values, widths: NDArray[np.int64]) -> Values:
        """(k,) for ``work`` (k,) at ``widths`` (a, k)."""
        fixed, each = self._lines[node.label]
        classes = np.zeros(len(work), np.int64)
        for at, multiple in enumerate(CLASSES):
            classes[(widths % multiple == 0).all(0)] = at
        return np.asarray((fixed + each * work) * self._costs[node.label][classes], np.float64)


def _line(table: Table, label: str, shares: int) -> tuple[float, float]:
    """(seconds that stay, seconds per work) at widths of the best class there is."""
    points = [
        (run.work[label], run.seconds.get(label, 0.0) / shares, class_of(run.widths[label])) for run in table.runs
    ]
    best = max(c for _, _, c in points)
    work, seconds = np.array([(w, s) for w, s, c in points if c == best]).T
    if not work.max() or not seconds.any():
        return float(seconds.mean()), 0.0
    if np.ptp(work) == 0:
        # narrow layers: what less work costs is what it was seen to cost at widths of other classes
        return 0.0, float(seconds.mean() / work.mean())
    spread = work - work.mean()
    each = float(spread @ (seconds - seconds.mean()) / max(float(spread @ spread), 1e-300))
    each = min(max(each, 0.0), float(seconds.mean() / work.mean()))
    return float(seconds.mean() - each * work.mean()), each


def costs_of(table: Table, leader: str, labels: list[str]) -> Values:
    """How many times longer a layer and its followers take at widths of each class than at the best."""
    lines = {label: _line(table, label, 1) for label in labels}
    found: dict[int, list[float]] = defaultdict(list)
    for run in table.runs:
        straight = sum(lines[n][0] + lines[n][1] * run.work[n] for n in labels)
        if straight > 0:
            found[class_of(run.widths[leader])].append(sum(run.seconds.get(n, 0.0) for n in labels) / straight)
    costs, last = np.ones(len(CLASSES)), 1.0
    for at in reversed(range(len(CLASSES))):
        last = max(last, min(float(np.mean(found.get(CLASSES[at], [last]))), _DEAREST))
        costs[at] = last
    return costs
