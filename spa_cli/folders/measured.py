"""How wide a pruned model is where a configuration has one number for all of its layers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spa_cli.channels.naming import BLOCKS
from spa_cli.channels.state import CONSUMER
from spa_cli.folders.kinds import ATTENTION, kind_of, role_of
from spa_cli.result import Result
from spa_cli.runtime.caches import pasts


@dataclass(frozen=True)
class Heads:
    """How many heads of queries, how many of keys and values, and how many channels each has."""

    queries: int
    keys: int
    width: int


@dataclass
class Attention:
    """What is left of attention, each number that some layer has; ``cut``: whether anything went.

    ``layers``: how many there are of which something could go, counted by what reads their values. ``fits``: whether
    heads lie in the model as they were said to.
    """

    queries: set[int] = field(default_factory=set)
    keys: set[int] = field(default_factory=set)
    width: set[int] = field(default_factory=set)
    layers: int = 0
    cut: bool = False
    fits: bool = True


def widths(result: Result, before: int, kind: str) -> list[int]:
    """What is left of every group of this kind that has so many channels.

    Where none has, weights may be quantised in blocks, of which a channel of the group is one.
    """
    groups, graph = result.analysis.grouping.groups, result.analysis.graph
    alike = [group for group in groups if kind_of(group, graph) == kind]
    found = [group for group in alike if group.channels == before] or [
        group
        for group in alike
        if before % group.channels == 0
        and before // group.channels in {m.rows for m in group.members if m.role != CONSUMER}
    ]
    kept = {group.name: count for group, count in result.cut_groups}
    return [kept.get(group.name, group.channels) * (before // group.channels) for group in found]


def attention(result: Result, before: Heads) -> Attention:
    """Heads and their widths, read off every matrix that has an axis of them, side by side."""
    found, reading, cut = Attention(), set[str](), {group.name for group, _ in result.cut_groups}
    graph = result.analysis.graph
    groups = [group for group in result.analysis.grouping.groups if kind_of(group, graph) in ATTENTION]
    whole = {group.channels for group in groups if group.kind == BLOCKS}
    # the last: kernels take no heads but those of so many blocks of eight
    found.fits = not whole or not whole.isdisjoint(
        {before.queries, before.keys, before.queries // before.keys, before.width // 8}
    )
    for group in groups:
        found.cut |= group.name in cut
        for member in group.members:
            role = role_of(member, graph)
            reading |= {member.node} if role == CONSUMER else set()
            kept = _kept(result, member.tensor, member.axis)
            # of packed weights, what is read stands in blocks of its own
            if role is None or len(kept) % before.width:
                continue
            inside = kept.reshape(-1, before.width).sum(1)
            if role == CONSUMER and len(inside) != before.queries:
                continue
            if _count(found, before, inside > 0):
                wide = set(inside[inside > 0].tolist())
                found.width |= wide
                found.fits &= len(wide) == 1
    found.layers = len(reading)
    return found


def _count(found: Attention, before: Heads, alive: NDArray[np.bool_]) -> bool:
    """Add what is left of these heads; false for an axis of which nothing says that they are its heads."""
    together, left = before.queries + 2 * before.keys, int(alive.sum())
    if len(alive) == together and before.queries != before.keys:
        # one matrix for all three, queries first: what remains behind those is keys and values
        queries = int(alive[: before.queries].sum())
        found.queries.add(queries)
        found.keys.add((left - queries) // 2)
    elif len(alive) == together:
        found.queries.add(left // 3)
        found.keys.add(left // 3)
    elif len(alive) in (before.queries, before.keys):
        found.queries |= {left} if len(alive) == before.queries else set()
        found.keys |= {left} if len(alive) == before.keys else set()
    else:
        return False
    return True


def _kept(result: Result, tensor: str, axis: int) -> NDArray[np.bool_]:
    """Which indices of an axis of a weight are left; none of one whose blocks keep different ones."""
    mask = np.ones(result.analysis.graph.shape(tensor)[axis], bool)
    left = {**result.plan.kept, **result.plan.hidden}.get(tensor, {}).get(str(axis))
    if left is not None:
        if left and isinstance(left[0], list):
            return mask[:0]
        mask[:] = False
        mask[np.asarray(left, np.int64)] = True
    return mask


def caches(result: Result) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """(heads, channels of one) of every cache of attention that the model is given: before and after."""
    shapes = [
        {i.name: [d.dim_value for d in i.type.tensor_type.shape.dim] for i in graph.input}
        for graph in (result.analysis.graph.model.graph, result.model.graph)
    ]
    named = (name for name, axis in pasts(result.analysis.graph).items() if axis == 2 and len(shapes[0][name]) == 4)
    return [((a[1], a[3]), (b[1], b[3])) for name in named for a, b in [(shapes[0][name], shapes[1][name])]]
