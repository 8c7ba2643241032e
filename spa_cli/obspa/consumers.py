"""Which layers read a group's channels, with what weights, and what is known of what they read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spa_cli.channels.groups import Group, Grouping
from spa_cli.channels.slices import slot_of
from spa_cli.graph.model import Array, Graph
from spa_cli.obspa.directions import Directions, through_norm, width
from spa_cli.obspa.layers import Layer
from spa_cli.obspa.shrinkage import POSITIONS
from spa_cli.obspa.statistics import Statistics

Slots = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Reader:
    """One layer reads the channels of a group (of one block of it): ``y = W x``.

    ``w`` (o, p), ``h`` (p, p) the covariance of ``x`` over ``rows`` independent rows and ``mean`` (p,), ``places``
    (c, s) the coordinates of each channel. ``weight`` makes errors of different layers comparable, and ``again`` those
    of groups: what is lost counts so much more, but in which order channels go does not. ``unfit``: the weight can't
    be refitted. ``part``: which matrix of which weight it is, where several layers share that. ``felt``
    (o, p): ``w`` in the directions in which the network's outputs feel its errors, where that is known. ``h_of``: the
    tensor and the group whose ``h`` it is.
    """

    node: str
    w: Array
    h: Array
    mean: Array
    rows: int
    places: Slots
    weight: float
    unfit: bool = False
    part: tuple[str, int] | None = None
    felt: Array | None = None
    h_of: tuple[str, int] = ("", 0)
    again: float = 1.0

    @property
    def second(self) -> Array:
        """Second moment of ``x`` about zero, (p, p)."""
        return np.asarray(self.h + np.outer(self.mean, self.mean))


class Consumers:
    """Per group, per block (one if it has none), the layers that read it; made when they are asked for.

    ``emphasis``: how much layers count (1). ``directions``: how their errors compare; without them all are alike.
    """

    def __init__(
        self,
        graph: Graph,
        grouping: Grouping,
        layers: list[Layer],
        statistics: dict[str, Statistics],
        emphasis: dict[str, float],
        directions: Directions | None = None,
    ) -> None:
        self._graph, self._grouping, self._statistics = graph, grouping, statistics
        self._emphasis, self._directions = emphasis, directions
        group_of = {int(c): i for i, g in enumerate(grouping.groups) for c in g.ids}
        # layers that read a group through their weight, and recurrent ones that read their own units
        self._layers: list[list[tuple[Layer, bool]]] = [[] for _ in grouping.groups]
        for layer in layers:
            if layer.key not in statistics:
                continue
            for i in _groups_in(grouping, layer.operand, _inner_axes(layer), group_of):
                self._layers[i].append((layer, False))
            recurs = layer.recurrent and statistics[layer.key].hidden is not None
            for i in _groups_in(grouping, layer.node.input(2) if recurs else "", [2], group_of):
                self._layers[i].append((layer, True))

    def __getitem__(self, index: int) -> list[list[Reader]]:
        found = self._none(index)
        for own in self.one_by_one(index):
            for block, readers in zip(found, own, strict=True):
                block += readers
        return found

    def one_by_one(self, index: int) -> Iterator[list[list[Reader]]]:
        """The same, layer by layer: of a large network they are more than fits at once. Those that share a weight come
        together.
        """
        for layers in _sharing(self._layers[index]):
            found = self._none(index)
            for layer, units in layers:
                self._add(index, layer, units, found)
            yield [together(block) for block in found]

    def _add(self, index: int, layer: Layer, units: bool, found: list[list[Reader]]) -> None:
        group, known = self._grouping.groups[index], self._statistics[layer.key]
        # relative to the variance the error is added into
        times = self._emphasis.get(layer.node.label, 1.0) / known.spread
        if units:
            _add_units(self._graph, self._grouping, group, layer, known, times, found)
            return
        felt = None
        if self._directions is not None:
            times *= self._directions.weight(layer)
            felt = self._directions.felt(layer)
        _add_layer(self._graph, self._grouping, group, layer, known, times, felt, found)

    def bytes(self, index: int) -> int:
        """About what ranking a group with all of its readers at once takes."""
        sizes = (self._statistics[layer.key].size for layer, _ in self._layers[index])
        return sum(8 * g * p * (2 * o + 3 * p) for g, o, p in sizes)

    def _none(self, index: int) -> list[list[Reader]]:
        return [[] for _ in range(max(1, len(self._grouping.groups[index].blocks)))]


def _sharing(layers: list[tuple[Layer, bool]]) -> list[list[tuple[Layer, bool]]]:
    """The same, those that share a weight in one list."""
    found: dict[object, list[tuple[Layer, bool]]] = {}
    for at, (layer, units) in enumerate(layers):
        key: object = layer.stored.name if layer.siblings and not units else at
        found.setdefault(key, []).append((layer, units))
    return [*found.values()]


def together(readers: list[Reader]) -> list[Reader]:
    """Layers that share a weight as one, which reads what any of them reads."""
    result, sharing = list[Reader](), dict[tuple[str, int], list[Reader]]()
    for each in readers:
        if each.part is None:
            result.append(each)
        else:
            sharing.setdefault(each.part, []).append(each)
    for own in sharing.values():
        first, total = own[0], sum(r.weight for r in own)
        if not all(np.array_equal(r.w, first.w) and np.array_equal(r.places, first.places) for r in own):
            # norms of their own stand behind them
            result += own
            continue
        h, mean = (np.sum([r.weight / total * getattr(r, n) for r in own], 0) for n in ("h", "mean"))
        of = (f"all that read {first.h_of[0]}", first.h_of[1])
        result.append(replace(first, h=h, mean=mean, rows=sum(r.rows for r in own), weight=total, h_of=of))
    return result


def _inner_axes(layer: Layer) -> list[int]:
    """The contracted axes of the operand, in the order of the coordinates."""
    return layer.terms.inputs


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
        if rows is not None and layer.packed and axis:
            # an axis of blocks, each with the inputs that share its scale
            rows = np.repeat(rows, layer.packed, 0)[: shape[axis]]
        if rows is not None:
            line = slot_of(rows, ids).reshape([-1 if i == at else 1 for i in range(len(axes))])
            grid = np.maximum(grid, line)
    return grid.reshape(-1)


def _add_layer(
    graph: Graph,
    grouping: Grouping,
    group: Group,
    layer: Layer,
    statistics: Statistics,
    times: float,
    felt: Array | None,
    found: list[list[Reader]],
) -> None:
    matrix, rows = through_norm(graph, layer, statistics.weight), statistics.moments.rows
    h, mean = statistics.moments.h, statistics.moments.mean_x
    taps = math.prod(layer.kernel)
    slots = _slots(grouping, layer, statistics.shape, group.ids)
    block = (
        _slots(grouping, layer, statistics.shape, group.blocks) if len(group.blocks) else np.where(slots >= 0, 0, -1)
    )
    weight = width(matrix) * times

    def add(to: list[Reader], g: int, places: Slots) -> None:
        part = (layer.stored.name, g) if layer.siblings else None
        own = None if felt is None else felt[g]
        to.append(
            Reader(
                *(layer.node.label, matrix[g], h[g], mean[g], rows, places, weight, bool(layer.unfit), part, own),
                h_of=(layer.key, g),
                again=_again(layer, statistics),
            )
        )

    if layer.transposed and len(matrix) > 1:
        # its channels are those of all groups, one after the other
        if len(found) != len(matrix):
            return
        for b, own in enumerate(slots.reshape(len(matrix), -1)):
            places = _places(own, own >= 0, group.channels, 1)
            if places is not None:
                add(found[b], b, places)
        return
    separate = len(group.blocks) > 0 and not (block >= 0).any()
    for b in range(len(found)):
        here = (slots >= 0) if separate else (slots >= 0) & (block == b)
        places = _places(slots, here, group.channels, taps)
        if places is None:
            continue
        per = len(matrix) // len(found) if separate else len(matrix)
        for g in range(b * per, (b + 1) * per) if separate else range(per):
            add(found[b], g, places)


def _add_units(
    graph: Graph,
    grouping: Grouping,
    group: Group,
    layer: Layer,
    statistics: Statistics,
    times: float,
    found: list[list[Reader]],
) -> None:
    """A recurrent layer reads its own units through ``R (directions, gates*h, h)``."""
    name = layer.node.inputs[2]
    slots = slot_of(grouping.rows[name, 2], group.ids)
    places = _places(slots, slots >= 0, group.channels, 1)
    if statistics.hidden is None or places is None or len(group.blocks):
        return
    r, h, mean = graph.array(name).astype(np.float64), statistics.hidden.h, statistics.hidden.mean_x
    weight = math.sqrt(r.shape[0] * r.shape[1]) * times * _again(layer, statistics)
    rows = statistics.hidden.rows
    found[0] += [
        Reader(layer.node.label, r[d], h[d], mean[d], rows, places, weight, h_of=(name, d)) for d in range(len(r))
    ]


def _again(layer: Layer, statistics: Statistics) -> float:
    """How many times as much an error counts as it would at a single step: the root of the steps in a recurrent layer.

    Its gates get it at every step, and its states carry it on. Channels are ordered by it where they are its own units,
    which a loop has to bear; what a group loses counts by it where the next layer reads it, too. A speaker network of
    three layers at 0.7 of its MACs, 160 steps, is off by 0.36 so (relative L2, held-back samples), 0.38 where the next
    layer's errors count once. Where they order channels as well it was 0.47 by a lesser repair that left 0.39 else.
    """
    known = statistics.hidden
    return math.sqrt(known.n * POSITIONS / known.rows) if layer.recurrent and known is not None else 1.0


def _places(slots: Slots, here: NDArray[np.bool_], channels: int, taps: int) -> Slots | None:
    """Coordinates of each channel, (c, s); ``None`` if not every channel has equally many."""
    at = np.flatnonzero(here)
    counts = np.bincount(slots[at], minlength=channels)
    if not len(at) or counts.min() != counts.max():
        return None
    grouped = at[np.argsort(slots[at], kind="stable")].reshape(channels, -1)
    return (grouped[:, :, None] * taps + np.arange(taps)).reshape(channels, -1)
