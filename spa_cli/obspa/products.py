"""Channels that no weight reads: one activation's are summed against another's, as queries against keys.

A product gives ``l = q^T k / sqrt(d)`` before a softmax. Without channel ``c`` it is off by ``q_c k_c / sqrt(d)``, and
the softmax by half of the variance of that over keys (its divergence to second order; what all keys have in common
changes nothing): what is lost is ``E[q_c^2] Var[k_c] / 2d``, summed over all products that the channel takes part in,
averaged over their heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from spa_cli.channels.groups import Group, Grouping
from spa_cli.channels.ids import Rows
from spa_cli.channels.ranking import Scores
from spa_cli.channels.slices import shape_of, slot_of
from spa_cli.channels.state import PRODUCER
from spa_cli.graph.model import Array, Graph, Node
from spa_cli.obspa.layers import Layer
from spa_cli.obspa.statistics import Statistics
from spa_cli.operators import record_of


class Maker(NamedTuple):
    """A layer that gives channels of a group: which weight of it, and where those lie."""

    layer: Layer
    tensor: str
    axis: int


def lost(
    graph: Graph, grouping: Grouping, group: Group, layers: list[Layer], statistics: Mapping[str, Statistics]
) -> Scores | None:
    """What products lose by each channel, (c,) or (b, c); ``None`` where nothing is known of one side."""
    makers = _makers(group, layers, statistics)
    found: Scores | None = None
    for sides in _meetings(graph, makers):
        own = _lost_by(grouping, group, [[makers[key] for key in sorted(side)] for side in sides], statistics)
        if own is None:
            return None
        found = own if found is None else found + own
    return found


def _makers(group: Group, layers: list[Layer], statistics: Mapping[str, Statistics]) -> dict[str, Maker]:
    """By the tensor that a layer gives."""
    # the scales of a packed weight speak for its bytes
    by_weight = {
        each.stored.scale if each.packed else each.stored.name: each for each in layers if each.key in statistics
    }
    return {
        by_weight[m.tensor].key: Maker(by_weight[m.tensor], m.tensor, m.axis)
        for m in group.members
        if m.role == PRODUCER and m.tensor in by_weight
    }


def _meetings(graph: Graph, makers: Mapping[str, Maker]) -> list[tuple[frozenset[str], frozenset[str]]]:
    """For every product of two activations the makers of either side."""
    made, found = dict[str, frozenset[str]](), []
    for node in graph.nodes:
        sides = [made.get(name, frozenset()) for name in node.inputs]
        out = frozenset[str]().union(*sides)
        if len(sides) > 1 and sides[0] and sides[1] and _is_product(node):
            found.append((sides[0], sides[1]))
            out = frozenset()
        made.update({name: frozenset({name}) if name in makers else out for name in node.outputs})
    return found


def _is_product(node: Node) -> bool:
    return record_of(node).contracts is not None or "Attention" in node.op


def _lost_by(
    grouping: Grouping, group: Group, sides: list[list[Maker]], statistics: Mapping[str, Statistics]
) -> Scores | None:
    known = [[statistics[maker.layer.key] for maker in side] for side in sides]
    energies = [[each.energy for each in known[0]], [_variance(each) for each in known[1]]]
    rows = [[grouping.rows[m.tensor, m.axis] for m in side] for side in sides]
    if any(len(e) != len(r) for es, rs in zip(energies, rows, strict=True) for e, r in zip(es, rs, strict=True)):
        return None
    (one, *more), (other, *others) = energies
    if sides[0] != sides[1] and not (more or others) and len(one) == len(other):
        # head by head
        return _binned(group, rows[0][0], one * other) / (2 * len(one))
    left, right = (
        np.sum([_binned(group, r, e) for r, e in zip(rs, es, strict=True)], 0)
        for rs, es in zip(rows, energies, strict=True)
    )
    widths = [sum(int((slot_of(r, group.ids) >= 0).sum()) for r in rs) / len(rs) for rs in rows]
    if sides[0] == sides[1]:
        # one weight holds queries and keys
        left, right, widths = left / 2, right / 2, [width / 2 for width in widths]
    # the mean over heads of either side; two rows of a channel are a pair that positions turn into each other
    found: Scores = left * right * group.channels * max(1, len(group.blocks)) / (2 * widths[0] * widths[1])
    return found


def _variance(known: Statistics) -> Array:
    """Of every output of a layer."""
    found: Array = np.einsum("gop,gpq,goq->go", known.weight, known.moments.h, known.weight, optimize=True).reshape(-1)
    return found


def _binned(group: Group, rows: Rows, energy: Array) -> Scores:
    """What rows of energies add up to, by channel: (c,) or (b, c)."""
    slots, found = slot_of(rows, group.ids), np.zeros(shape_of(group))
    here = slots >= 0
    if not len(group.blocks):
        np.add.at(found, slots[here], energy[here])
        return found
    blocks = slot_of(rows, group.blocks)
    here &= blocks >= 0
    np.add.at(found, (blocks[here], slots[here]), energy[here])
    return found
