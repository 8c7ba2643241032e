"""Importance: a criterion per parameter, aggregated over the group, comparable across groups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spa_cli.channels.groups import Group, Grouping, Member
from spa_cli.channels.ids import Rows
from spa_cli.channels.state import PASS_THROUGH
from spa_cli.graph.model import Array, Graph
from spa_cli.importance.tables import made_by_formula

Scores = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Ranking:
    """In which order a group's channels would go, and what each removal loses.

    ``order``: channel indices, least important first, (c,) or (b, c) where blocks choose for themselves. ``loss``
    (c,): of the k-th removal (over all blocks), comparable across groups, never decreasing.
    """

    order: NDArray[np.int64]
    loss: Scores

    @staticmethod
    def of(scores: Scores) -> Ranking:
        """Channels by ascending score."""
        by_block = np.sort(scores, axis=-1).reshape(-1, scores.shape[-1])
        return Ranking(np.argsort(scores, axis=-1, kind="stable"), by_block.mean(0))


Magnitude = Callable[[Array], Array]


def score(graph: Graph, grouping: Grouping, method: str, seed: int) -> list[Scores]:
    """Importance of every channel of every group: ``(c,)``, or ``(b, c)`` where blocks choose for themselves.

    ``l1`` and ``l2`` are the group norms of SPA (Eq. 3 there): the norm of what a coupled channel holds in each
    parameter, relative to the mean over the group's channels, averaged over the parameters. ``random`` is uniform in
    [0, 1). A channel whose parameters are all zero scores exactly 0.
    """
    rng = np.random.default_rng(seed)
    if method == "random":
        return [rng.random(_shape(g)) for g in grouping.groups]
    magnitude, finish = _NORMS[method]
    weights: dict[str, Array] = {}
    return [_score_group(graph, grouping, g, magnitude, finish, weights) for g in grouping.groups]


METHODS = ("l1", "l2", "random")

_NORMS: dict[str, tuple[Magnitude, Magnitude]] = {
    "l1": (np.abs, lambda total: total),
    "l2": (np.square, np.sqrt),
}


def score_group(graph: Graph, grouping: Grouping, group: Group, method: str) -> Scores:
    """Scores of one group by a norm."""
    magnitude, finish = _NORMS[method]
    return _score_group(graph, grouping, group, magnitude, finish, {})


def _shape(group: Group) -> tuple[int, ...]:
    return (len(group.blocks), group.channels) if len(group.blocks) else (group.channels,)


def _score_group(
    graph: Graph, grouping: Grouping, group: Group, magnitude: Magnitude, finish: Magnitude, cache: dict[str, Array]
) -> Scores:
    # biases and norms say little about what a channel contributes, what no training made says nothing
    trained = [m for m in group.members if not made_by_formula(graph, m.tensor)] or list(group.members)
    members = [m for m in trained if m.role != PASS_THROUGH] or trained
    total = np.zeros(_shape(group))
    for member in members:
        if member.tensor not in cache:
            cache.clear()
            cache[member.tensor] = magnitude(graph.array(member.tensor).astype(np.float64))
        channel = finish(_per_channel(grouping, group, member, cache[member.tensor]))
        mean = channel.mean()
        if mean > 0:
            total += channel / mean
    return total / len(members)


def _per_channel(grouping: Grouping, group: Group, member: Member, values: Array) -> Scores:
    """Sum of ``values`` over everything a coupled channel holds in this parameter."""
    rows = grouping.rows[member.tensor, member.axis]
    slots = slot_of(rows, group.ids)
    here = slots >= 0
    if not len(group.blocks):
        line = values.sum(tuple(i for i in range(values.ndim) if i != member.axis))
        total: Scores = np.bincount(slots[here], line[here], group.channels).astype(np.float64)
        return total
    block = slot_of(rows, group.blocks)
    flat = np.zeros((len(group.blocks), group.channels))
    if (block >= 0).any():
        line = values.sum(tuple(i for i in range(values.ndim) if i != member.axis))
        np.add.at(flat, (block[here], slots[here]), line[here])
        return flat
    # the blocks are along axis 0
    cut = values.reshape(len(group.blocks), -1, *values.shape[1:])
    lines = np.moveaxis(cut, member.axis + 1, 1).reshape(len(group.blocks), values.shape[member.axis], -1).sum(2)
    for b, line in enumerate(lines):
        flat[b] = np.bincount(slots[here], line[here], group.channels)
    return flat


def slot_of(rows: Rows, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each row the position in ``ids`` of the one it contains, -1 if none."""
    order = np.argsort(ids)
    at = np.minimum(np.searchsorted(ids[order], rows), len(ids) - 1)
    found = ids[order][at] == rows
    slots: NDArray[np.int64] = np.where(found, order[at], -1).max(1, initial=-1)
    return slots
