"""Groups of coupled channels, read off the ids once every operator has spoken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from spa_cli.channels.factors import digits
from spa_cli.channels.group import Group as Group
from spa_cli.channels.group import Member as Member
from spa_cli.channels.ids import Reason, Rows
from spa_cli.channels.naming import BLOCKS, INSIDE, named
from spa_cli.channels.state import PASS_THROUGH, PRODUCER, Axis, Channels
from spa_cli.text import plural

# what runs along an axis that has no channels
_NO_CHANNELS = frozenset(
    [
        "has a single channel",
        "is the window of a convolution",
        "runs over the directions of a recurrent layer",
        "holds indices",
        "holds positions",
        "is the mask of an attention",
        "holds nothing",
    ]
)
_NO_NUMBERS = (" reads it as a setting", " reads it as positions", " reads it as data")


@dataclass(frozen=True)
class FrozenAxis:
    """An axis of a parameter of which nothing can be removed."""

    tensor: str
    axis: int
    reason: Reason

    @property
    def counts(self) -> bool:
        """Whether anybody would look for channels along it: not along a window, a single index, or a list of sizes."""
        return self.reason.text not in _NO_CHANNELS and not self.reason.text.endswith(_NO_NUMBERS)


@dataclass(eq=False, repr=False)
class Grouping:
    """All groups and frozen axes of a model, over ``count`` ids.

    ``rows``: normal rows of every axis of every tensor that can lose something. ``occurrences``: per group, one
    (tensor, axis) for every distinct array of rows its ids occur in.
    """

    groups: list[Group]
    frozen: list[FrozenAxis]
    rows: dict[tuple[str, int], Rows]
    count: int
    occurrences: list[list[tuple[str, int]]] = field(default_factory=list)

    def __repr__(self) -> str:
        frozen = plural(sum(f.counts for f in self.frozen), "frozen axis", "frozen axes")
        return f"<Grouping: {plural(len(self.groups), 'group')}, {frozen}>"

    def arrays(self) -> dict[int, tuple[Rows, list[tuple[str, int]]]]:
        """Distinct row arrays with the (tensor, axis) pairs that share them."""
        found: dict[int, tuple[Rows, list[tuple[str, int]]]] = {}
        for place, rows in self.rows.items():
            found.setdefault(id(rows), (rows, []))[1].append(place)
        return found


def build_groups(state: Channels) -> Grouping:
    """Groups in the order their first parameter appears in the file."""
    table = _Table(state)
    found = [ids for ids in table.patterns() if table.in_weights(ids)]
    blocked = {frozenset(ids.tolist()): (ids, parents) for ids, parents in _blocked(state, table, found)}
    order = {name: i for i, name in enumerate(state.graph.weights())}
    groups = []
    for ids in found:
        members = tuple(table.members(ids))
        if not members:
            continue
        reasons = state.ids.inexact(ids)
        inexact = state.ids.reasons[int(reasons[reasons != 0][0])] if reasons.any() else None
        ordered, blocks = blocked.get(frozenset(ids.tolist()), (ids, ids[:0]))
        groups.append(Group("", ordered, blocks, members, inexact))
    groups.sort(key=lambda g: (min(order[m.tensor] for m in g.members), int(g.ids[0])))
    parts = [_part(g, table.rows) for g in groups]
    held = [sorted({name for owners in table.holding(int(g.ids[0])) for name, _ in owners}) for g in groups]
    groups = named(_by_tensor(groups, parts), parts, held, state.graph)
    return Grouping(groups, list(_frozen(state, table, groups)), table.rows, state.ids.count, table.occurrences(groups))


class _Table:
    """Normal rows of all axes, and which ids occur where."""

    def __init__(self, state: Channels) -> None:
        self.state = state
        self.rows: dict[tuple[str, int], Rows] = {}
        self.owners: dict[int, list[tuple[str, int]]] = {}
        seen: dict[int, Rows] = {}
        for name, axes in state.axes.items():
            for at, axis in enumerate(axes):
                if axis.static:
                    continue
                if id(axis.rows) not in seen:
                    seen[id(axis.rows)] = state.ids.normal(axis.rows)
                rows = seen[id(axis.rows)]
                self.rows[name, at] = rows
                self.owners.setdefault(id(rows), []).append((name, at))
        self.weights = state.graph.weights()
        self._order = {name: i for i, name in enumerate(self.weights)}
        self._weight_ids = self._collect(self.weights)
        self._owners = list(self.owners.values())
        found = [np.unique(self.rows[owners[0]]) for owners in self._owners]
        ids = np.concatenate([np.zeros(0, np.int64), *found])
        order = np.argsort(ids, kind="stable")
        self._ids, self._where = ids[order], np.repeat(np.arange(len(found)), [len(f) for f in found])[order]

    def _collect(self, names: list[str]) -> NDArray[np.bool_]:
        present = np.zeros(self.state.ids.count, bool)
        for name in names:
            for at in range(len(self.state.axes.get(name, []))):
                if (name, at) in self.rows:
                    present[self.rows[name, at].ravel()] = True
        present[0] = False
        return present

    def in_weights(self, ids: NDArray[np.int64]) -> bool:
        return bool(self._weight_ids[ids].any())

    def patterns(self) -> Iterator[NDArray[np.int64]]:
        """Removable ids, those that occur on exactly the same axes together."""
        ids = self.state.ids
        signature = np.zeros(ids.count, np.uint64)
        mix = np.random.default_rng(0)
        for owners in self.owners.values():
            rows = self.rows[owners[0]]
            for column in rows.T:
                np.add.at(signature, column, mix.integers(1, 2**63, dtype=np.uint64))
        signature[0] = 0
        live = np.flatnonzero(signature)
        live = live[ids.frozen(live) == 0]
        if not len(live):
            return
        _, group = np.unique(signature[live], return_inverse=True)
        order = np.argsort(group, kind="stable")
        yield from np.split(live[order], np.flatnonzero(np.diff(group[order])) + 1)

    def occurrences(self, groups: list[Group]) -> list[list[tuple[str, int]]]:
        """Per group, one (tensor, axis) for every distinct array of rows its ids occur in."""
        group_of = np.full(self.state.ids.count, -1, np.int64)
        for index, group in enumerate(groups):
            group_of[group.ids] = index
        found: list[list[tuple[str, int]]] = [[] for _ in groups]
        for owners in self.owners.values():
            for index in np.unique(group_of[self.rows[owners[0]]]):
                if index >= 0:
                    found[index].append(owners[0])
        return found

    def members(self, ids: NDArray[np.int64]) -> Iterator[Member]:
        """Axes of weights on which these ids occur."""
        present = np.zeros(self.state.ids.count, bool)
        present[ids] = True
        axes = [place for owners in self.holding(int(ids[0])) for place in owners if place[0] in self._order]
        for name, at in sorted(axes, key=lambda place: (self._order[place[0]], place[1])):
            rows = self.rows[name, at]
            hits = int((rows == ids[0]).sum())
            role, node = self.role(name, at, present)
            yield Member(name, at, role, node, hits)

    def holding(self, one: int) -> list[list[tuple[str, int]]]:
        """For every distinct array of rows in which an id occurs, the axes that have it."""
        first, last = np.searchsorted(self._ids, [one, one + 1])
        return [self._owners[at] for at in self._where[first:last]]

    def role(self, name: str, at: int, present: NDArray[np.bool_]) -> tuple[str, str]:
        """What the axis is to the operator that uses it, directly or through reshapes of the constant."""
        if not hasattr(self, "_roles"):
            self._roles: dict[str, list[tuple[Rows, str, str]]] = {}
            for record in self.state.roles:
                for source in record.sources:
                    self._roles.setdefault(source, []).append((record.rows, record.role, record.node))
        own = self.state.axes[name][at].rows
        for rows, role, node in self._roles.get(name, []):
            if rows is own:
                return role, node
        for rows, role, node in self._roles.get(name, []):
            if present[self.state.ids.normal(rows)].any():
                return role, node
        users = self.state.graph.consumers.get(name, [])
        return PASS_THROUGH, users[0].label if users else ""


def _blocked(
    state: Channels, table: _Table, found: list[NDArray[np.int64]]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """(channels in order, blocks) of the groups whose channels may differ from block to block."""
    whole = {frozenset(ids.tolist()) for ids in found}
    mixed = _Mixed(state)
    done: set[int] = set()
    for refinement in state.ids.refinements:
        factors = [state.ids.normal(f) for f in refinement]
        for inner in range(len(factors) - 1, 0, -1):
            for outer in range(inner):
                child, parent = factors[inner], factors[outer]
                if child.shape[1] != 1 or parent.shape[1] != 1:
                    continue
                c, p = child[:, 0], parent[:, 0]
                if frozenset(c.tolist()) not in whole or len(set(c.tolist())) < len(c) or int(c.min()) in done:
                    continue
                if len(set(p.tolist())) != len(p) or len(p) == 1 or mixed.joins(c, p):
                    continue
                if _independent(state, table, c, p):
                    done.add(int(c.min()))
                    yield c, p


class _Mixed:
    """Contractions that combine different blocks: channels that are summed over, beside ids along a kept axis."""

    def __init__(self, state: Channels) -> None:
        factor = np.zeros(state.ids.count, bool)
        for refinement in state.ids.refinements:
            for rows in refinement:
                factor[state.ids.normal(rows)] = True
        factor[0] = False
        self._pairs = []
        for over, kept in state.mixed:
            a, b = (np.unique(state.ids.normal(rows)) for rows in (over, kept))
            if factor[a].any() and factor[b].any():
                self._pairs.append((a[factor[a]], b[factor[b]]))

    def joins(self, child: NDArray[np.int64], parent: NDArray[np.int64]) -> bool:
        return any(np.isin(child[0], a) and np.isin(parent, b).any() for a, b in self._pairs)


def _independent(state: Channels, table: _Table, child: NDArray[np.int64], parent: NDArray[np.int64]) -> bool:
    """Whether no tensor ever mixes or aligns the child channels of two different blocks.

    True if wherever a child id occurs its block is known: in the same row (with the block varying slower), or on
    another axis of the same tensor (for a parameter: axis 0, so that a plan can list the blocks).
    """
    is_child, is_parent = (np.zeros(state.ids.count, bool) for _ in range(2))
    is_child[child], is_parent[parent] = True, True
    listed: set[str] = set()
    # the channels of a group occur on the same axes
    for owners in table.holding(int(child[0])):
        rows = table.rows[owners[0]]
        hit = is_child[rows]
        # the axis may hold other things too: queries and keys beside values in one fused projection
        rows, hit = rows[hit.any(1)], hit[hit.any(1)]
        if (hit.sum(1) > 1).any() or (hit.any(0)).sum() > 1:
            return False
        column = rows[:, hit.any(0)][:, 0]
        beside = is_parent[rows]
        if beside.any():
            if (beside.sum(1) != hit.any(1)).any() or beside.any(0).sum() > 1:
                return False
            outer = rows[:, beside.any(0)][:, 0]
            if not _slower(outer, column, child):
                return False
            continue
        run, period = digits(column)
        if period // run != len(child) or not np.array_equal(column[:period:run], child):
            return False
        for name, at in owners:
            # a plan can list blocks along one axis of a parameter only (a recurrent R has two)
            if name in listed or not _has_blocks(state, table, name, at, parent):
                return False
            if name in state.graph.parameters:
                listed.add(name)
    return True


def _slower(outer: NDArray[np.int64], inner: NDArray[np.int64], child: NDArray[np.int64]) -> bool:
    """Whether ``inner`` runs through all of ``child``, in order, before ``outer`` changes."""
    for segment in np.split(inner, np.flatnonzero(np.diff(outer)) + 1):
        run, period = digits(segment)
        if period != len(segment) or not np.array_equal(segment[::run], child):
            return False
    return True


def _has_blocks(state: Channels, table: _Table, name: str, at: int, parent: NDArray[np.int64]) -> bool:
    for other in range(len(state.axes[name])):
        if other == at or (name, other) not in table.rows:
            continue
        rows = table.rows[name, other]
        if name in state.graph.parameters and other != 0:
            continue
        for column in rows.T:
            if len(column) % len(parent) == 0 and np.array_equal(column, np.repeat(parent, len(column) // len(parent))):
                return True
    return False


def _by_tensor(groups: list[Group], parts: list[str]) -> list[Group]:
    """The groups by their first weight, and what of it is cut; those that are the same are counted."""
    counts: dict[str, int] = {}
    found = []
    for group, part in zip(groups, parts, strict=True):
        base = _first(group).tensor + part
        counts[base] = counts.get(base, 0) + 1
        found.append(replace(group, tensor=base if counts[base] == 1 else f"{base}#{counts[base]}"))
    return found


def _first(group: Group) -> Member:
    return next((m for m in group.members if m.role == PRODUCER), group.members[0])


def _part(group: Group, rows_of: dict[tuple[str, int], Rows]) -> str:
    """Where an axis is cut in two ways: whole blocks (heads), or the same of every block (head dims)."""
    rows, ids = rows_of[_first(group).tensor, _first(group).axis], group.ids
    own = np.isin(rows, ids)
    line = np.where(own, rows, 0).max(1)[own.any(1)]
    beside = rows[own.any(1)][:, ~own.any(0)]
    if not beside.any():
        return ""
    return INSIDE if len(line) > 1 and line[0] != line[1] else BLOCKS


def _frozen(state: Channels, table: _Table, groups: list[Group]) -> Iterator[FrozenAxis]:
    grouped = {(m.tensor, m.axis) for g in groups for m in g.members}
    for name in table.weights:
        for at, axis in enumerate(state.axes[name]):
            if (name, at) not in grouped:
                yield FrozenAxis(name, at, _reason(state, table, name, at, axis))


def _reason(state: Channels, table: _Table, name: str, at: int, axis: Axis) -> Reason:
    if axis.static:
        return state.ids.reasons[axis.why]
    ids = table.rows[name, at].ravel() if (name, at) in table.rows else np.zeros(0, np.int64)
    reasons = state.ids.frozen(ids[ids != 0])
    given = reasons[reasons != 0]
    if len(given):
        return state.ids.reasons[int(given[0])]
    users = state.graph.consumers.get(name, [])
    return Reason("is not used by any operator" if not users else "has nothing that could be removed", "")
