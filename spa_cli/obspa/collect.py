"""Statistics of the dense network: one run over the calibration data, accumulated chunk by chunk."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np

from spa_cli.calibration.chunks import samples_in
from spa_cli.checkpoints import Checkpoints
from spa_cli.engines.pool import ahead, pool
from spa_cli.graph.model import Array, Graph
from spa_cli.graph.shapes import Shapes
from spa_cli.memory import portion
from spa_cli.obspa.gather import Gathered, gathered, left, part, shapes_of, whole
from spa_cli.obspa.layers import Layer, graph_shape
from spa_cli.obspa.positions import Positions
from spa_cli.obspa.statistics import Statistics, reader
from spa_cli.obspa.sums import Sums, Used
from spa_cli.obspa.wide import widest
from spa_cli.operators.contracts import ShapeOf
from spa_cli.progress import tracked
from spa_cli.runtime.portable import InParts, Portable, weights_of
from spa_cli.runtime.probe import probe
from spa_cli.runtime.store import Store
from spa_cli.runtime.stretches import Stretch, stretches

# of the memory there is, what is fetched in one run may take, and what is kept of moments and of activations
_SHARE = 1 / 4

# activations by chunk and name
AtHand = dict[tuple[int, str], Array]


def collect(
    graph: Graph,
    shapes: Shapes,
    layers: list[Layer],
    chunks: list[dict[str, Array]],
    where: Positions,
    most: int | None = None,
    kept: Checkpoints = Checkpoints(),
) -> dict[str, Statistics]:
    """One run of the dense network with the layers' inputs and targets fetched; statistics per layer key.

    Memory grows neither with the number of chunks nor with the depth of the network: where all of it does not fit, it
    is run stretch by stretch, and moments go to disk. Layers with more than ``most`` inputs (``None``: what memory
    allows) have no statistics, nor have those whose weights are not all numbers. ``kept``: where stretches are found
    that an earlier run came to the end of.
    """
    used = _used(graph, shapes, layers, most or widest())
    if not used:
        return {}
    room, count = portion(_SHARE), max(map(samples_in, chunks))

    def size(name: str) -> int:
        return 4 * math.prod(d or 1 for d in graph_shape(graph, shapes, name)[1:]) * count

    requests = [_fetched(graph, each.layer) for each in used]
    # second moments, in the making and made
    takes = [2 * 8 * groups * width**2 for groups, _, width in (each.sizes for each in used)]
    parts, store = stretches(graph, requests, takes, size, room), Store(room)
    found, done, at_hand = _known(used, parts, kept, store, where)
    # of chunks that are under way at the same time, beside one: what is fetched of them takes as much again as there is
    beside = [int(2 * room // max(1, sum(map(size, part.names)))) - 1 for part in parts]
    network = _Network(graph, chunks, parts, requests, store, at_hand if done else None, beside)
    progress = tracked(range((len(parts) - done) * len(chunks)))
    for number in range(done, len(parts)):
        sums = {i: Sums(graph, used[i], where, sum(map(samples_in, chunks))) for i in parts[number].served}
        for given in network.stretch(number, sums):
            next(progress)
            for i, one in given:
                sums[i].add(one)
        own = {i: sums[i].statistics(store) for i in sums if sums[i].moments.n}
        found |= own
        _keep(kept, number, own, network.ends() if kept.active else {}, where)
    next(progress, None)
    return {each.layer.key: found[i] for i, each in enumerate(used) if i in found}


class _Network:
    """The dense network as it is run, stretch by stretch, wherever its chunks are; ``at_hand``: of an earlier run.

    ``room``: by stretch, for how many chunks beside one there is memory.
    """

    def __init__(
        self,
        graph: Graph,
        chunks: list[dict[str, Array]],
        parts: list[Stretch],
        requests: list[list[str]],
        store: Store,
        at_hand: AtHand | None,
        room: list[int],
    ) -> None:
        self._pool, self._parts = pool(), parts
        self._whole: list[str] | None = None
        network: Portable | InParts
        if len(parts) == 1 and at_hand is None:
            self._whole = sorted({n for names in requests for n in names})
            model = probe(graph.to_run(), self._whole, beside=True)
            network = Portable(graph, model, arena=False, several=len(chunks) > 1)
            self._weights = weights_of(graph)
        else:
            network = InParts(graph, parts)
        self._network, self._store = self._pool.send(network), self._pool.send(store)
        self._chunks = [self._pool.once(chunk) for chunk in chunks]
        # what is read later of every chunk
        self._left: list[Any] = [{} for _ in chunks]
        self._room = room
        for (at, name), value in (at_hand or {}).items():
            self._left[at][name] = store.put(value)

    def stretch(self, number: int, sums: dict[int, Sums]) -> Iterator[Iterable[tuple[int, Gathered]]]:
        """What every chunk adds, in order."""
        pool, readings = self._pool, self._pool.send({i: one.reading for i, one in sums.items()})
        first = next(run := ahead(self._passed(number, readings), room=self._room[number]))
        yield pool.get(self._gathered(first, readings, sums, None))
        del first
        # by now the first chunk was added
        shifts = pool.send({i: one.shifts for i, one in sums.items()})
        more = (self._gathered(passed, readings, sums, shifts) for passed in run)
        for given in ahead(more, room=self._room[number]):
            yield pool.get(given)

    def _passed(self, number: int, readings: Any) -> Iterator[tuple[int, Any, Any]]:
        """The number of every chunk, what is fetched of it, and the shapes of that."""
        call = self._pool.call
        for at, chunk in enumerate(self._chunks):
            if self._whole is not None:
                values = call(whole, self._network, self._weights, self._whole, chunk)
            else:
                before, names = self._left[at], sorted(self._parts[number].kept)
                values = call(part, self._network, number, chunk, before)
                self._left[at] = call(left, values, names, before, self._store)
            yield at, values, call(shapes_of, readings, values)

    def _gathered(self, passed: tuple[int, Any, Any], readings: Any, sums: dict[int, Sums], shifts: Any) -> Any:
        at, values, shapes = passed
        rows = {i: sums[i].draw(at, shape) for i, shape in self._pool.get(shapes).items()}
        return self._pool.each(gathered, readings, values, rows, shifts)

    def ends(self) -> dict[str, Array]:
        """What is read later of every chunk, by the number of the chunk and of the name."""
        every = ((at, self._pool.get(left)) for at, left in enumerate(self._left))
        return {f"{at}/{n}": own[name].get() for at, own in every for n, name in enumerate(sorted(own))}


def _known(
    used: list[Used], parts: list[Stretch], kept: Checkpoints, store: Store, where: Positions
) -> tuple[dict[int, Statistics], int, AtHand]:
    """Statistics of stretches that were run before, how many those are, and the activations at the end of the last."""
    found: dict[int, Statistics] = {}
    for number in range(len(parts)):
        before = kept.get(f"statistics-{number}")
        if before is None:
            ends = kept.get(f"activations-{number - 1}") if number else {}
            if ends is None:
                return {}, 0, {}
            if number:
                where.state = json.loads(str(ends.pop("draws")))
            names = sorted(parts[number - 1].kept) if number else []
            at = {key: tuple(map(int, key.split("/"))) for key in ends}
            return found, number, {(at[key][0], names[at[key][1]]): value for key, value in ends.items()}
        for i in sorted({int(name.split("/")[0]) for name in before}):
            own = {n.split("/", 1)[1]: v for n, v in before.items() if n.startswith(f"{i}/")}
            layer = used[i]
            found[i] = Statistics.unpacked(own, layer.matrix, layer.sizes, layer.operand, store)
    return found, len(parts), {}


def _keep(kept: Checkpoints, number: int, own: dict[int, Statistics], ends: dict[str, Array], where: Positions) -> None:
    if not kept.active:
        return
    # sequences are no arrays: then the next run begins anew
    if all(isinstance(value, np.ndarray) for value in ends.values()):
        kept.put(f"activations-{number}", {**ends, "draws": np.array(json.dumps(where.state))})
    kept.put(f"statistics-{number}", {f"{i}/{n}": v for i, one in own.items() for n, v in one.packed().items()})
    kept.drop(f"activations-{number - 1}")


def too_wide(graph: Graph, shapes: Shapes, layers: list[Layer]) -> list[str]:
    """Layers, by label, with more inputs than memory allows."""
    return [layer.node.label for layer, matrix, _, _ in _read(graph, shapes, layers) if matrix.shape[2] > widest()]


def _used(graph: Graph, shapes: Shapes, layers: list[Layer], most: int) -> list[Used]:
    return [
        Used(layer, matrix.shape, operand, again)
        for layer, matrix, operand, again in _read(graph, shapes, layers)
        if matrix.shape[2] <= most and np.isfinite(matrix).all()
    ]


def _read(
    graph: Graph, shapes: Shapes, layers: list[Layer]
) -> Iterator[tuple[Layer, Array, tuple[int, ...], Callable[[], Array]]]:
    """Layers with their weights, each as (g, o, p), its shape before that, and what reads it again."""

    def shape_of(name: str) -> tuple[int, ...]:
        return graph_shape(graph, shapes, name)

    for layer in layers:
        operand = layer.weight(reader(graph), shape_of)
        if operand is None or not shape_of(layer.x):
            continue
        groups = layer.groups(shape_of(layer.x), operand.shape)
        yield layer, layer.matrix(operand, groups), operand.shape, partial(_matrix, graph, layer, shape_of, groups)


def _matrix(graph: Graph, layer: Layer, shape_of: ShapeOf, groups: int) -> Array:
    operand = layer.weight(reader(graph), shape_of)
    assert operand is not None
    return layer.matrix(operand, groups)


def _fetched(graph: Graph, layer: Layer) -> list[str]:
    """Tensors that the statistics of a layer are made of, but inputs and weights of the network."""
    units = [layer.node.outputs[0]] if layer.recurrent and layer.node.outputs[0] else []
    names = dict.fromkeys([layer.x, layer.around.target, layer.around.after_norm, *units])
    return [n for n in names if n not in graph.inputs and n not in graph.parameters]
