"""What widths were measured to cost, kind by kind, to be told."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from spa_cli.devices.clock import costs_of
from spa_cli.devices.kinds import KINDS
from spa_cli.devices.table import CLASSES, Table, class_of


def costs_by_kind(table: Table) -> dict[str, dict[int, float]]:
    """Per kind of layer and class of widths that was run: how many times longer than at the best class.

    A layer counts as much as it takes in the whole model.
    """
    followers: dict[str, list[str]] = defaultdict(list)
    for label, leader in table.leaders.items():
        followers[leader].append(label)
    found: dict[str, dict[int, list[tuple[float, float]]]] = {}
    for leader, kind in table.kinds.items():
        # where no width can change, there is no class to speak of
        run = {class_of(r.widths[leader]) for r in table.runs if r.widths[leader]}
        costs = costs_of(table, leader, followers[leader])
        takes = sum(table.runs[0].seconds.get(label, 0.0) for label in followers[leader])
        for at, multiple in enumerate(CLASSES):
            if multiple in run:
                found.setdefault(kind, {}).setdefault(multiple, []).append((costs[at], takes or 1e-9))
    return {kind: {m: _average(found[kind][m]) for m in sorted(found[kind])} for kind in KINDS if kind in found}


def _average(costs: list[tuple[float, float]]) -> float:
    """Of costs with their weights."""
    values, weights = np.transpose(costs)
    return float(np.average(values, weights=weights))
