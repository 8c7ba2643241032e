"""The OBS ranking of every group's channels: saliency summed over all layers that read them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from spa_cli.channels.groups import Group, Grouping
from spa_cli.channels.ranking import Ranking, Scores
from spa_cli.channels.slices import shape_of, slot_of, sums
from spa_cli.channels.state import PRODUCER
from spa_cli.checkpoints import checkpoints
from spa_cli.engines.pool import ahead, pool
from spa_cli.graph.model import Array, Graph
from spa_cli.memory import portion
from spa_cli.obspa.at_once import at_once
from spa_cli.obspa.consumers import Consumers, Reader
from spa_cli.obspa.layers import Layer
from spa_cli.obspa.products import lost
from spa_cli.obspa.saliency import Consumer, Rigid, convex, greedy, inverse
from spa_cli.obspa.shrinkage import shrunk
from spa_cli.obspa.statistics import Statistics
from spa_cli.progress import tracked

# and how many readers it has; ``None``: some of its channels have none
_Ranked: TypeAlias = tuple[Ranking, int] | None
# of the memory there is, what ranking a group step by step may take
_SHARE = 1 / 4


def rank(
    graph: Graph,
    grouping: Grouping,
    layers: list[Layer],
    statistics: dict[str, Statistics],
    found: Consumers,
) -> list[Ranking]:
    """One ranking per group, relative to the variance of what the readers' errors are added into.

    What products of activations lose is relative to what they give: it counts like all that a layer gives counts, by
    the median of the network's layers.
    """
    known, each = dict[int, Ranking](), list[float]()
    room = portion(_SHARE)
    sizes, progress = [found.bytes(i) for i, _ in enumerate(grouping.groups)], tracked(grouping.groups)
    # what takes longest first: else one core has it alone in the end
    every = sorted(range(len(sizes)), key=lambda i: -sizes[i])
    begun = (_begun(f"ranking-{i}", partial(_read_by, grouping.groups[i], found, i, room)) for i in every)
    for i, done in zip(every, ahead(begun, room=room // max(max(sizes, default=0), 1) - 1), strict=True):
        next(progress)
        ranked = done()
        if ranked is not None:
            known[i], readers = ranked
            each.append(float(known[i].loss.sum()) / readers)
    scale = float(np.median(each)) if each else 1.0
    return [
        known[i] if i in known else by_energy(graph, grouping, g, layers, statistics, scale)
        for i, g in enumerate(grouping.groups)
    ]


def _begun(step: str, begin: Callable[[], Any]) -> Callable[[], _Ranked]:
    """Begin a ranking; what asks for what comes of it, or came of it in an earlier run."""
    before = checkpoints().get(step)
    if before is not None:
        return lambda: (Ranking(before["order"], before["loss"]), int(before["readers"])) if before else None
    begun = begin()

    def done() -> _Ranked:
        found: _Ranked = pool().get(begun)
        arrays = {} if found is None else {"order": found[0].order, "loss": found[0].loss, "readers": found[1]}
        checkpoints().put(step, arrays)
        return found

    return done


def _read_by(group: Group, found: Consumers, index: int, room: float) -> Any:
    """Stands for the ranking of a group and how many readers it has; ``None`` if some of its channels have none."""
    if found.bytes(index) > room:
        # layer by layer, which lie here
        return at_once(group, partial(found.one_by_one, index))
    blocks = found[index]
    return pool().call(_ranked, group.channels, bool(len(group.blocks)), blocks) if all(blocks) else None


def _ranked(channels: int, blocked: bool, found: list[list[Reader]]) -> _Ranked:
    inverses = dict[tuple[str, int], Array]()
    curves = [greedy([_consumer(r, inverses) for r in block], channels, [r.again for r in block]) for block in found]
    order = np.stack([o for o, _ in curves])
    loss = convex(np.sum([e for _, e in curves], 0))
    return Ranking(order if blocked else order[0], loss), sum(map(len, found))


def _consumer(reading: Reader, inverses: dict[tuple[str, int], Array]) -> Consumer | Rigid:
    """``inverses``: of the layers that were looked at, which several blocks read."""
    w = reading.w if reading.felt is None else reading.felt
    if reading.unfit:
        return Rigid(w, reading.second, reading.places, reading.weight)
    if reading.h_of not in inverses:
        inverses[reading.h_of] = inverse(shrunk(reading.h, reading.rows))
    return Consumer(w, inverses[reading.h_of], reading.places, reading.weight)


def by_energy(
    graph: Graph,
    grouping: Grouping,
    group: Group,
    layers: list[Layer],
    statistics: dict[str, Statistics],
    scale: float = 1.0,
) -> Ranking:
    """No weight reads these channels: by what products of activations lose (queries against keys), times ``scale``.

    By their share of what the layers that make them give, where those are not known to meet in products.
    """
    products = lost(graph, grouping, group, layers, statistics)
    if products is None:
        share = energy_share(graph, grouping, group, layers, statistics)
        loss = np.sort(share, -1).reshape(-1, group.channels).mean(0)
    else:
        share = scale * products
        # of all heads together
        loss = np.sort(share, -1).reshape(-1, group.channels).sum(0)
    return Ranking(np.argsort(share, axis=-1, kind="stable"), convex(loss))


def energy_share(
    graph: Graph, grouping: Grouping, group: Group, layers: list[Layer], statistics: dict[str, Statistics]
) -> Scores:
    """What products of the activations lose by each channel, adding up to 1: (c,) or (b, c).

    Where layers are not known to meet in products, what those give that make the channel, multiplied; the energy of the
    weights where nothing is known of what they give.
    """
    products = lost(graph, grouping, group, layers, statistics)
    if products is not None:
        return np.asarray(products / max(float(products.sum(-1).mean()), 1e-30))
    share: Array | None = None
    # the scales of a packed weight speak for its bytes
    by_output = {
        layer.stored.scale if layer.packed else layer.stored.name: layer for layer in layers if layer.key in statistics
    }
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
        share = np.zeros(shape_of(group))
        for member in group.members:
            energy = sums(grouping, group, member, np.square(graph.array(member.tensor).astype(np.float64)))
            share += energy / max(float(energy.mean()), 1e-30)
    result: Scores = share / max(float(share.sum(-1).mean()), 1e-30)
    return result
