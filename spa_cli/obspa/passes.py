"""Passes over the samples, there and back: what outputs give, and what they feel of every layer, run by run.

A run is a piece of work of its own; what runs give is added up in their order.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from spa_cli.adjoints.network import Adjoint
from spa_cli.engines.pool import ahead, pool
from spa_cli.graph.model import Array, Graph
from spa_cli.obspa.layers import Layer
from spa_cli.runtime.portable import Portable, Weights, weights_of
from spa_cli.runtime.probe import probe

# of a position's chance to be drawn, what every one has alike
_ALIKE = 0.5


@dataclass(frozen=True, eq=False)
class Part:
    """Samples of one run, and the chunk they are of."""

    feeds: dict[str, Array]
    chunk: int


class Channels:
    """Mean and variance of an output's channels: along its last axis, of more than three along its second."""

    def __init__(self, rank: int) -> None:
        self._axis = _channel_axis(rank)
        self._sums: Array | None = None

    @staticmethod
    def sums(output: Array) -> Array:
        """(3, channels): count, sum and sum of squares."""
        axis = _channel_axis(np.ndim(output))
        flat = np.moveaxis(output, axis, -1).reshape(-1, output.shape[axis]).astype(np.float64)
        return np.stack([np.full(flat.shape[1], float(len(flat))), flat.sum(0), np.square(flat).sum(0)])

    def add(self, sums: Array) -> None:
        """Those of one more run."""
        self._sums = sums if self._sums is None or sums.shape != self._sums.shape else self._sums + sums

    def weights(self, output: Array) -> Array:
        """``D^(1/2)``, element by element."""
        assert self._sums is not None
        count, total, squares = self._sums
        mean = total / count
        variance = squares / count - np.square(mean)
        floor = max(1e-6 * float(variance.mean()), 1e-30)
        variance = np.maximum(variance, floor)
        moved = np.abs(np.moveaxis(output, self._axis, -1) - mean) / variance**0.75
        return np.asarray(np.moveaxis(moved, -1, self._axis).astype(output.dtype))


def _channel_axis(rank: int) -> int:
    return 1 if rank > 3 else -1


class Asked(NamedTuple):
    """A layer, in how many ``groups``, the tensor of its gradient, and whether directions are told apart."""

    layer: Layer
    groups: int
    gradient: str
    narrow: bool


class Passes:
    """Both networks, and the samples of every run, wherever those are."""

    def __init__(self, graph: Graph, outputs: list[str], back: Adjoint, asked: list[Asked], parts: list[Part]) -> None:
        self.pool, self.outputs = pool(), outputs
        self.forward = self.pool.send(Portable(graph, probe(graph.to_run(), outputs), "all", several=len(parts) > 1))
        self.back = self.pool.send(Portable(graph, back.model, "all", several=len(parts) > 1))
        self.weights = weights_of(graph)
        self.asked, self.cotangents = self.pool.send(asked), [back.cotangents[name] for name in outputs]
        self.feeds = [self.pool.once(part.feeds) for part in parts]

    def outputs_of(self) -> tuple[list[Channels], list[list[tuple[int, ...]]]]:
        """What is known of the outputs over all runs, and their shapes in each."""
        found, shapes = list[Channels](), list[list[tuple[int, ...]]]()
        for run in ahead(
            self.pool.call(_seen, self.forward, self.weights, self.outputs, feeds) for feeds in self.feeds
        ):
            seen = self.pool.get(run)
            found = found or [Channels(len(shape)) for shape, _ in seen]
            for channels, (_, sums) in zip(found, seen, strict=True):
                channels.add(sums)
            shapes.append([shape for shape, _ in seen])
        return found, shapes

    def begun(self, rng: np.random.Generator) -> Iterator[Any]:
        """What every run adds (``_felt``), in order; signs are those of one process, which draws run after run."""
        channels, shapes = self.outputs_of()
        known = self.pool.send(channels)
        for feeds, own in zip(self.feeds, shapes, strict=True):
            given = deepcopy(rng) if self.pool.under_way else rng
            how = (self.forward, self.back, self.weights, self.outputs, self.cotangents, known, self.asked)
            yield self.pool.each(_felt, *how, feeds, given)
            for shape in own if self.pool.under_way else ():
                _signs(rng, shape, np.dtype(np.float32))


def _seen(
    forward: Portable, weights: Weights | None, outputs: list[str], feeds: dict[str, Array]
) -> list[tuple[tuple[int, ...], Array]]:
    forward.open(weights)
    values = map(np.asarray, forward.run(outputs, feeds))
    return [(value.shape, Channels.sums(value)) for value in values]


def _signs(rng: np.random.Generator, shape: tuple[int, ...], kind: np.dtype[Any]) -> Array:
    return rng.choice(np.array([-1, 1], kind), shape)


def _felt(
    forward: Portable,
    back: Portable,
    shared: Weights | None,
    outputs: list[str],
    cotangents: list[str],
    channels: list[Channels],
    asked: list[Asked],
    feeds: dict[str, Array],
    rng: np.random.Generator,
) -> Iterator[tuple[Array | None, Array | None]]:
    """Of every layer sums of ``g g^T`` over the positions of a run (g, o, o), and the chances of these."""
    for network in (forward, back):
        network.open(shared)
    given = dict(feeds)
    values = forward.run(outputs, feeds)
    for known, name, value in zip(channels, cotangents, values, strict=True):
        weights = known.weights(np.asarray(value))
        given[name] = weights * _signs(rng, weights.shape, weights.dtype)
    gradients = back.run([each.gradient for each in asked], given)
    for (layer, groups, _, narrow), gradient in zip(asked, gradients, strict=True):
        rows = layer.outputs_at(np.asarray(gradient, np.float32), None, groups)
        total = np.matmul(rows.transpose(0, 2, 1), rows) if narrow else None
        if not layer.batch_first:
            yield total, None
            continue
        felt = np.square(rows).sum((0, 2)).reshape(len(np.asarray(gradient)), -1)
        alike = np.full(felt.shape, 1 / felt.shape[1], np.float32)
        share = felt / np.maximum(felt.sum(1, keepdims=True), 1e-30)
        yield total, (_ALIKE * alike + (1 - _ALIKE) * share).astype(np.float32)
