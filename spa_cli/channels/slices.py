"""What a coupled channel holds in a parameter: sums over it, and its vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spa_cli.channels.groups import Group, Grouping, Member
from spa_cli.channels.ids import Rows
from spa_cli.channels.ranking import Scores
from spa_cli.graph.model import Array


def slot_of(rows: Rows, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each row the position in ``ids`` of the one it contains, -1 if none."""
    order = np.argsort(ids)
    at = np.minimum(np.searchsorted(ids[order], rows), len(ids) - 1)
    found = ids[order][at] == rows
    slots: NDArray[np.int64] = np.where(found, order[at], -1).max(1, initial=-1)
    return slots


def shape_of(group: Group) -> tuple[int, ...]:
    """Of its scores: ``(c,)``, or ``(b, c)`` where blocks choose for themselves."""
    return (len(group.blocks), group.channels) if len(group.blocks) else (group.channels,)


def sums(grouping: Grouping, group: Group, member: Member, values: Array) -> Scores:
    """Sum of ``values`` (shaped like the parameter) over everything a coupled channel holds in it: (c,) or (b, c)."""
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


def vectors(grouping: Grouping, group: Group, member: Member, values: Array) -> Array:
    """Everything a coupled channel holds in a parameter, as one vector: (c, e) or (b, c, e)."""
    rows = grouping.rows[member.tensor, member.axis]
    slots = slot_of(rows, group.ids)
    block = slot_of(rows, group.blocks) if len(group.blocks) else np.zeros(len(rows), np.int64)
    along = np.moveaxis(values, member.axis, 0)
    if len(group.blocks) and not (block >= 0).any():
        # the blocks are along axis 0
        cut = values.reshape(len(group.blocks), -1, *values.shape[1:])
        parts = [_gathered(np.moveaxis(part, member.axis, 0), slots, group.channels) for part in cut]
        return np.stack(parts)
    if not len(group.blocks):
        return _gathered(along, slots, group.channels)
    return np.stack(
        [_gathered(along, np.where(block == b, slots, -1), group.channels) for b in range(len(group.blocks))]
    )


def _gathered(along: Array, slots: NDArray[np.int64], channels: int) -> Array:
    """Lines of axis 0 by slot, those of one channel side by side: (c, e)."""
    at = np.flatnonzero(slots >= 0)
    counts = np.bincount(slots[at], minlength=channels)
    ordered = along[at[np.argsort(slots[at], kind="stable")]]
    flat = ordered.reshape(len(at), -1)
    result = np.zeros((channels, counts.max(initial=0), flat.shape[1]))
    nth = np.arange(len(at)) - np.repeat(np.cumsum(counts) - counts, counts)
    result[np.repeat(np.arange(channels), counts), nth] = flat
    return result.reshape(channels, -1)
