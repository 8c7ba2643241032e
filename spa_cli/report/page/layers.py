"""The layers of a model in network order: how wide they are and what they cost, before and after a cut."""

from __future__ import annotations

from dataclasses import dataclass

from spa_cli.analysis import Analysis
from spa_cli.channels.selection import Selection
from spa_cli.channels.state import PRODUCER


@dataclass(frozen=True)
class LayerCost:
    """A node that multiplies by weights; the second of each pair is after the cut (the same where nothing was cut).

    ``width``: of what it gives, ``None`` where no axis of a weight makes that. ``moves``: whether any of it could go.
    """

    name: str
    op: str
    weight: str
    width: tuple[int, int] | None
    macs: tuple[int, int]
    moves: bool


def layers(analysis: Analysis, selection: Selection | None = None) -> list[LayerCost]:
    """Every layer, in the order in which the network runs."""
    state, grouping = analysis.state, analysis.grouping
    whole = analysis.costs.by_node()
    left = analysis.costs.by_node(selection) if selection is not None else whole
    weights = set(analysis.graph.weights())
    movable = {(m.tensor, m.axis) for g in grouping.groups for m in g.members}
    tensors: dict[str, set[str]] = {}
    widths: dict[str, tuple[int, int]] = {}
    for record in state.roles:
        tensors.setdefault(record.node, set()).update(record.sources & weights)
        if record.role == PRODUCER and record.node not in widths:
            before = len(record.rows)
            moving = selection is not None and record.rows.shape[1] > 0
            after = int(selection.mask(state.ids.normal(record.rows)).sum()) if selection and moving else before
            widths[record.node] = (before, after)
    found = {}
    for node in analysis.graph.all_nodes:
        name = node.label
        if not tensors.get(name) or not (name in widths or whole.get(name)):
            continue
        own = sorted(tensors[name], key=lambda w: (-len(analysis.graph.shape(w)), w))
        moves = any((w, axis) in movable for w in own for axis in range(len(analysis.graph.shape(w))))
        costs = (whole.get(name, 0), left.get(name, 0))
        found[name] = LayerCost(name, node.op, own[0], widths.get(name), costs, moves)
    return list(found.values())
