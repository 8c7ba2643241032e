"""Statistics of the dense network, and from them the ranking of every group's channels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from spa_cli.channels.groups import Group, Grouping, Member
from spa_cli.channels.state import CONSUMER, PRODUCER
from spa_cli.graph.model import Array, Graph
from spa_cli.importance.criteria import Ranking, score_group, slot_of
from spa_cli.obspa.layers import RECURRENT, Layer, features, kernel_of, norm_scale, positions, sample_rows
from spa_cli.obspa.moments import Moments
from spa_cli.obspa.saliency import Consumer, convex, greedy
from spa_cli.verification.session import open_session


@dataclass
class Statistics:
    """Of one layer: moments of its input, variance (summed over channels) of its target, energy per output channel.

    ``hidden``: moments of a recurrent layer's units, (directions, h, h).
    """

    moments: Moments
    spread: float
    energy: Array
    hidden: Moments | None = None


def collect(
    graph: Graph, layers: list[Layer], chunks: list[dict[str, Array]], seed: int, limit: int
) -> dict[str, Statistics]:
    """One run of the dense network over the calibration data, with the layers' inputs and targets as outputs.

    ``limit``: positions looked at per sample.
    """
    if not layers:
        return {}
    rng = np.random.default_rng(seed)
    model = graph.in_memory()
    present = {o.name for o in model.graph.output}
    wanted = sorted({n for layer in layers for n in (layer.x, layer.target, layer.after_norm)} - set(graph.inputs))
    model.graph.output.extend(helper.make_empty_tensor_value_info(n) for n in wanted if n not in present)
    session = open_session(model)
    moments = {layer.key: Moments() for layer in layers}
    hidden = {layer.key: Moments() for layer in layers if layer.node.op in RECURRENT and layer.node.outputs[0]}
    sums: dict[str, list[Array]] = {}
    for chunk in chunks:
        values = {**chunk, **(dict(zip(wanted, session.run(wanted, chunk), strict=True)) if wanted else {})}
        for layer in layers:
            kernel = kernel_of(layer, graph.shape(layer.weight))
            x = values[layer.x]
            rows = sample_rows(positions(layer, x.shape, kernel), limit, rng)
            moments[layer.key].add(features(layer, x, rows, layer.groups, kernel))
        for key, units in hidden.items():
            # (steps, directions, batch, h)
            steps = np.moveaxis(values[key], 1, 0)
            units.add(steps.reshape(len(steps), -1, steps.shape[-1]))
        for name in {n for layer in layers for n in (layer.target, layer.after_norm)}:
            sums.setdefault(name, []).append(_channel_sums(graph, name, layers, values[name]))
    totals = {n: np.sum(s, 0) for n, s in sums.items()}
    result = {}
    for layer in layers:
        count, total, square = totals[layer.target]
        variance = square / count - np.square(total / count)
        count, _, energy = totals[layer.after_norm]
        spread = float(variance.sum())
        if layer.node.op in RECURRENT:
            spread = _gate_spread(graph, layer, moments[layer.key], hidden.get(layer.key))
        result[layer.key] = Statistics(moments[layer.key], max(spread, 1e-12), energy / count, hidden.get(layer.key))
    return result


def _gate_spread(graph: Graph, layer: Layer, x: Moments, hidden: Moments | None) -> float:
    """Variance of what the gates get from inputs and units, over all directions."""
    w = layer.matrix(graph.array(layer.weight).astype(np.float64), 1)
    total = float(np.einsum("gop,gpq,goq->", w, x.h, w, optimize=True))
    if hidden is not None:
        r = graph.array(layer.node.inputs[2]).astype(np.float64)
        total += float(np.einsum("dop,dpq,doq->", r, hidden.h, r, optimize=True))
    return total


def _channel_sums(graph: Graph, name: str, layers: list[Layer], value: Array) -> Array:
    """(3, channels): count, sum and sum of squares per output channel."""
    conv = any(name in (s.target, s.after_norm) and s.node.op in ("Conv", "FusedConv", "ConvTranspose") for s in layers)
    flat = np.moveaxis(value, 1 if conv else -1, -1).reshape(-1, value.shape[1 if conv else -1]).astype(np.float64)
    return np.stack([np.full(flat.shape[1], float(len(flat))), flat.sum(0), np.square(flat).sum(0)])


def rank(graph: Graph, grouping: Grouping, layers: list[Layer], statistics: dict[str, Statistics]) -> list[Ranking]:
    """The OBS ranking of every group (saliency summed over its consumers, relative to their targets' variance)."""
    by_weight = {(layer.weight, layer.axis): layer for layer in layers}
    by_output = {layer.weight: layer for layer in layers}
    return [_rank_group(graph, grouping, g, by_weight, by_output, statistics) for g in grouping.groups]


def _rank_group(
    graph: Graph,
    grouping: Grouping,
    group: Group,
    by_weight: dict[tuple[str, int], Layer],
    by_output: dict[str, Layer],
    statistics: dict[str, Statistics],
) -> Ranking:
    recurrent = {s.node.inputs[2]: s.key for s in by_output.values() if s.node.op in RECURRENT}
    blocks = max(1, len(group.blocks))
    consumers: list[list[Consumer]] = [[] for _ in range(blocks)]
    for member in group.members:
        layer = by_weight.get((member.tensor, member.axis))
        if member.tensor in recurrent and member.axis == 2:
            _add_units(graph, grouping, group, member, statistics[recurrent[member.tensor]], consumers)
        elif layer is not None and member.role == CONSUMER:
            _add_consumers(graph, grouping, group, layer, statistics[layer.key], consumers)
    if not all(consumers):
        return _by_energy(graph, grouping, group, by_output, statistics)
    curves = [greedy(c, group.channels) for c in consumers]
    order = np.stack([o for o, _ in curves])
    loss = convex(np.sum([e for _, e in curves], 0))
    return Ranking(order if len(group.blocks) else order[0], loss)


def _add_consumers(
    graph: Graph,
    grouping: Grouping,
    group: Group,
    layer: Layer,
    statistics: Statistics,
    consumers: list[list[Consumer]],
) -> None:
    weight = graph.array(layer.weight).astype(np.float64)
    matrix = layer.matrix(weight, layer.groups)
    scale = norm_scale(layer, graph.array)
    if scale is not None:
        matrix = matrix * scale[0].reshape(*matrix.shape[:2], 1)
    h = statistics.moments.h
    rows = grouping.rows[layer.weight, layer.axis]
    taps = math.prod(weight.shape[2:]) if layer.node.op in ("Conv", "FusedConv") else 1
    slots = slot_of(rows, group.ids)
    block = slot_of(rows, group.blocks) if len(group.blocks) else np.where(slots >= 0, 0, -1)
    if layer.node.op == "ConvTranspose" and layer.groups > 1:
        return
    # relative to the variance the error is added into; wide tensors count more (by sqrt(o): measured on ResNet-20,
    # 86.7 % at 2x MACs against 85.0 without and 86.6 with o, and fewer parameters than with o)
    weight_of_error = math.sqrt(matrix.shape[0] * matrix.shape[1]) / statistics.spread
    separate = len(group.blocks) > 0 and not (block >= 0).any()
    for b in range(len(consumers)):
        here = (slots >= 0) if separate else (slots >= 0) & (block == b)
        places = _places(slots, here, group.channels, taps)
        if places is None:
            continue
        matrices = range(len(matrix)) if not separate else _groups_of_block(len(matrix), len(consumers), b)
        for g in matrices:
            consumers[b].append(Consumer(matrix[g], h[g], places, weight_of_error))


def _add_units(
    graph: Graph,
    grouping: Grouping,
    group: Group,
    member: Member,
    statistics: Statistics,
    consumers: list[list[Consumer]],
) -> None:
    """A recurrent layer reads its own units through ``R (directions, gates*h, h)``."""
    slots = slot_of(grouping.rows[member.tensor, member.axis], group.ids)
    places = _places(slots, slots >= 0, group.channels, 1)
    if statistics.hidden is None or places is None or len(group.blocks):
        return
    r, h = graph.array(member.tensor).astype(np.float64), statistics.hidden.h
    weight = math.sqrt(r.shape[0] * r.shape[1]) / statistics.spread
    consumers[0] += [Consumer(r[d], h[d], places, weight) for d in range(len(r))]


def _groups_of_block(groups: int, blocks: int, block: int) -> range:
    per = groups // blocks
    return range(block * per, (block + 1) * per)


def _places(slots: NDArray[np.int64], here: NDArray[np.bool_], channels: int, taps: int) -> NDArray[np.int64] | None:
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
