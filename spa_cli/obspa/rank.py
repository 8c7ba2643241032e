"""The OBS ranking of every group's channels: saliency summed over all layers that read them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from spa_cli.channels.groups import Group, Grouping
from spa_cli.channels.state import PRODUCER
from spa_cli.graph.model import Array, Graph
from spa_cli.importance.criteria import Ranking, score_group, slot_of
from spa_cli.obspa.layers import Layer
from spa_cli.obspa.saliency import Consumer, Rigid, convex, greedy
from spa_cli.obspa.statistics import Statistics, reader
from spa_cli.obspa.surroundings import norm_scale

Slots = NDArray[np.int64]


def rank(graph: Graph, grouping: Grouping, layers: list[Layer], statistics: dict[str, Statistics]) -> list[Ranking]:
    """One ranking per group, relative to the variance of what the readers' errors are added into."""
    group_of = {int(c): i for i, g in enumerate(grouping.groups) for c in g.ids}
    readings: list[list[list[Consumer | Rigid]]] = [
        [[] for _ in range(max(1, len(group.blocks)))] for group in grouping.groups
    ]
    for layer in layers:
        if layer.key not in statistics:
            continue
        found = statistics[layer.key]
        for i in _groups_in(grouping, layer.operand, _inner_axes(layer), group_of):
            _add_consumers(graph, grouping, grouping.groups[i], layer, found, readings[i])
        units = layer.node.input(2) if layer.recurrent and found.hidden is not None else ""
        for i in _groups_in(grouping, units, [2], group_of):
            _add_units(graph, grouping, grouping.groups[i], units, found, readings[i])
    by_output = {layer.stored.name: layer for layer in layers if layer.key in statistics}
    return [
        _ranking(g, readings[i]) if all(readings[i]) else _by_energy(graph, grouping, g, by_output, statistics)
        for i, g in enumerate(grouping.groups)
    ]


def _ranking(group: Group, consumers: list[list[Consumer | Rigid]]) -> Ranking:
    curves = [greedy(c, group.channels) for c in consumers]
    order = np.stack([o for o, _ in curves])
    loss = convex(np.sum([e for _, e in curves], 0))
    return Ranking(order if len(group.blocks) else order[0], loss)


def _inner_axes(layer: Layer) -> list[int]:
    """The contracted axes of the operand, in the order of the coordinates."""
    if layer.conv or layer.transposed:
        return [1 if layer.conv else 0]
    assert layer.terms is not None
    return [layer.terms.w.index(label) for label in layer.terms.inner]


def _groups_in(grouping: Grouping, name: str, axes: list[int], group_of: dict[int, int]) -> list[int]:
    """Groups whose channels lie on these axes of a tensor."""
    ids = {int(i) for a in axes if (name, a) in grouping.rows for i in np.unique(grouping.rows[name, a])}
    return sorted({group_of[i] for i in ids if i in group_of})


def _slots(grouping: Grouping, layer: Layer, shape: tuple[int, ...], ids: NDArray[np.int64]) -> Slots:
    """For each coordinate (without taps) the position in ``ids`` of the one it belongs to, -1 if none."""
    axes = _inner_axes(layer)
    grid = np.full([shape[a] for a in axes], -1, np.int64)
    for at, axis in enumerate(axes):
        rows = grouping.rows.get((layer.operand, axis))
        if rows is not None:
            line = slot_of(rows, ids).reshape([-1 if i == at else 1 for i in range(len(axes))])
            grid = np.maximum(grid, line)
    return grid.reshape(-1)


def _add_consumers(
    graph: Graph,
    grouping: Grouping,
    group: Group,
    layer: Layer,
    statistics: Statistics,
    consumers: list[list[Consumer | Rigid]],
) -> None:
    kind = Rigid if layer.unfit else Consumer
    matrix, h = statistics.weight, statistics.moments.second if layer.unfit else statistics.moments.h
    scale = norm_scale(layer.around.norm, reader(graph))
    if scale is not None:
        matrix = matrix * scale[0].reshape(*matrix.shape[:2], 1)
    taps = math.prod(layer.kernel)
    slots = _slots(grouping, layer, statistics.shape, group.ids)
    block = (
        _slots(grouping, layer, statistics.shape, group.blocks) if len(group.blocks) else np.where(slots >= 0, 0, -1)
    )
    # relative to the variance the error is added into; wide tensors count more (by sqrt(o): measured on ResNet-20,
    # 86.7 % at 2x MACs against 85.0 without and 86.6 with o, and fewer parameters than with o)
    weight_of_error = math.sqrt(matrix.shape[0] * matrix.shape[1]) / statistics.spread
    if layer.transposed and len(matrix) > 1:
        # its channels are those of all groups, one after the other
        if len(consumers) != len(matrix):
            return
        for b, own in enumerate(slots.reshape(len(matrix), -1)):
            places = _places(own, own >= 0, group.channels, 1)
            if places is not None:
                consumers[b].append(kind(matrix[b], h[b], places, weight_of_error))
        return
    separate = len(group.blocks) > 0 and not (block >= 0).any()
    for b in range(len(consumers)):
        here = (slots >= 0) if separate else (slots >= 0) & (block == b)
        places = _places(slots, here, group.channels, taps)
        if places is None:
            continue
        per = len(matrix) // len(consumers) if separate else len(matrix)
        for g in range(b * per, (b + 1) * per) if separate else range(per):
            consumers[b].append(kind(matrix[g], h[g], places, weight_of_error))


def _add_units(
    graph: Graph,
    grouping: Grouping,
    group: Group,
    name: str,
    statistics: Statistics,
    consumers: list[list[Consumer | Rigid]],
) -> None:
    """A recurrent layer reads its own units through ``R (directions, gates*h, h)``."""
    slots = slot_of(grouping.rows[name, 2], group.ids)
    places = _places(slots, slots >= 0, group.channels, 1)
    if statistics.hidden is None or places is None or len(group.blocks):
        return
    r, h = graph.array(name).astype(np.float64), statistics.hidden.h
    weight = math.sqrt(r.shape[0] * r.shape[1]) / statistics.spread
    consumers[0] += [Consumer(r[d], h[d], places, weight) for d in range(len(r))]


def _places(slots: Slots, here: NDArray[np.bool_], channels: int, taps: int) -> Slots | None:
    """Coordinates of each channel, (c, s); ``None`` if not every channel has equally many."""
    at = np.flatnonzero(here)
    counts = np.bincount(slots[at], minlength=channels)
    if not len(at) or counts.min() != counts.max():
        return None
    grouped = at[np.argsort(slots[at], kind="stable")].reshape(channels, -1)
    return (grouped[:, :, None] * taps + np.arange(taps)).reshape(channels, -1)


def _by_energy(
    graph: Graph,
    grouping: Grouping,
    group: Group,
    by_output: dict[str, Layer],
    statistics: dict[str, Statistics],
) -> Ranking:
    """No weight reads these channels (queries against keys): their share of what the producers give, multiplied."""
    share: Array | None = None
    for member in group.members:
        layer = by_output.get(member.tensor)
        if layer is None or member.role != PRODUCER or len(group.blocks):
            continue
        slots = slot_of(grouping.rows[member.tensor, member.axis], group.ids)
        energy = statistics[layer.key].energy
        if len(energy) != len(slots):
            continue
        part = np.bincount(slots[slots >= 0], energy[slots >= 0], group.channels)
        share = part if share is None else share * part
    if share is None:
        share = np.square(score_group(graph, grouping, group, "l2"))
    total = max(float(share.sum(-1).mean()), 1e-30)
    order = np.argsort(share, axis=-1, kind="stable")
    loss = np.sort(share, -1).reshape(-1, group.channels).mean(0) / total
    return Ranking(order, convex(loss))
