"""Recurrent layers: what the gates get from the input and from the state before, fitted together.

A unit that goes was read by the gates of all that stay, step after step: their weights ``[W R]`` are fitted to what the
dense gates got, from the input and the states that the pruned layer has itself. A fit changes those states, so it is
repeated, with the states of all fits so far: else a loop that has just learnt to bear the errors of one fit meets those
of the next (dataset aggregation; Ross, Gordon and Bagnell 2011). What the layer gives, step after step, on samples that
none of it was fitted to says which is best.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from spa_cli.graph.model import Array, Graph
from spa_cli.obspa.layers import Layer
from spa_cli.obspa.observations import Observations, Split
from spa_cli.obspa.refit import refit
from spa_cli.obspa.shrinkage import POSITIONS
from spa_cli.runtime.interpreter import Interpreter
from spa_cli.surgery.cut import Cut

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
# fits: to the states of the dense network, then also to the pruned one's own after each
_ROUNDS = 4
# input and state before in the pruned network, both in the dense one, which samples are held back
Rows = tuple[Array, Array, Array, Array, Array]
# samples that are fitted to; every fourth judges
_HELD_BACK = 4


@dataclass(frozen=True)
class Part:
    """Gates of which the sum over the input and the one over the state are added, or one of the two alone."""

    gates: tuple[int, ...]
    x: bool = True
    h: bool = True


def parts_of(layer: Layer) -> list[Part]:
    """GRU multiplies what its candidate gets from the state before it adds that."""
    if layer.node.op != "GRU":
        return [Part(tuple(range(_GATES[layer.node.op])))]
    candidate = [Part((2,), h=False)]
    return [Part((0, 1)), *candidate, *([Part((2,), x=False)] if layer.node.attr("linear_before_reset", 0) else [])]


def followed(graph: Graph, layer: Layer) -> bool:
    """Whether its recurrent weights are its own, and it has none of what changes the sums or which steps there are."""
    node = layer.node
    own = [node.inputs[2], *([node.inputs[3]] if node.input(3) else [])]
    plain = not any(node.attr(name, 0) for name in ("layout", "clip", "input_forget"))
    return (
        node.op in _GATES
        and bool(node.outputs[0])
        and not layer.unfit
        and not layer.stored.chain
        and not (node.input(4) or node.input(7))
        and plain
        and all(name in graph.parameters and len(graph.readers(name)) == 1 for name in own)
    )


class Recurrence:
    """One layer in both networks; ``room``: bytes that rows of it may take."""

    def __init__(self, layer: Layer, work: Cut, dense: Interpreter, pruned: Interpreter, room: float) -> None:
        self._layer, self._dense, self._pruned, self._room = layer, dense, pruned, room
        self._names = [layer.node.input(i) for i in (1, 2, 3)]
        self._units = np.flatnonzero(work.kept_mask(self._names[1], 2))
        self._hidden = len(work.kept_mask(self._names[1], 2))
        self._proto = pruned.node(layer.node)

    def repair(self) -> float | None:
        """Refit; the damping of the last fit that helped, ``None`` if none did."""
        self._pruned.run(self._proto)
        if all(held.all() for held in self._held):
            # one sample: none is left to fit to
            return None
        best, damping = self._missed(), None
        stored = self._weights(self._pruned)
        parts = {part: list[tuple[Observations, Observations]]() for part in parts_of(self._layer)}
        for turn in range(_ROUNDS):
            rows = self._rows(from_dense=not turn)
            for part, seen in parts.items():
                seen.append((self._observed(rows, part, False), self._observed(rows, part, True)))
            found = self._fit(parts)
            self._pruned.run(self._proto, again=True)
            missed = self._missed()
            if missed < best:
                best, damping, stored = missed, found, self._weights(self._pruned)
        self._put(stored)
        self._pruned.run(self._proto, again=True)
        return damping

    def _put(self, weights: Sequence[Array | None]) -> None:
        for name, value in zip(self._names, weights, strict=True):
            if name and value is not None:
                self._pruned.write(name, value)

    def _weights(self, side: Interpreter) -> list[Array | None]:
        return [side.parameter(name) if name else None for name in self._names]

    def _missed(self) -> float:
        """Squared distance from the dense states of the units that stay, on held-back samples."""
        error = total = 0.0
        for (dense, pruned), held in zip(self._chunks(self._layer.node.outputs[0]), self._held, strict=True):
            wanted, found = dense[..., self._units][:, :, held], pruned[:, :, held]
            error += float(np.square(wanted - found, dtype=np.float64).sum())
            total += float(np.square(wanted, dtype=np.float64).sum())
        return error / max(total, 1e-30)

    @cached_property
    def _held(self) -> list[NDArray[np.bool_]]:
        """Which samples of every chunk are held back, counted over all of them: a chunk may have a single one."""
        sizes = [shape[2] for shape in self._dense.values[self._layer.node.outputs[0]].shapes]
        starts = np.cumsum([0, *sizes])
        return [(start + np.arange(size)) % _HELD_BACK == 0 for start, size in zip(starts, sizes, strict=False)]

    def _chunks(self, name: str) -> Iterator[tuple[Array, Array]]:
        pairs = zip(self._dense.values[name], self._pruned.values[name], strict=True)
        return ((np.asarray(a), np.asarray(b)) for a, b in pairs)

    def _fit(self, parts: Mapping[Part, Sequence[tuple[Observations, Observations]]]) -> float:
        """Put weights that are fitted to what was seen so far, each time to fit to and to judge by; their damping."""
        w, r, b = self._weights(self._pruned)
        assert w is not None and r is not None
        new_w, new_r = w.astype(np.float64), r.astype(np.float64)
        new_b = np.zeros((len(w), 2 * w.shape[1])) if b is None else b.astype(np.float64)
        independent = POSITIONS * sum(int((~held).sum()) for held in self._held)
        dampings = [0.0]
        for part, seen in parts.items():
            gates = _of_gates(part, len(self._units))
            given = np.concatenate([new_w[:, gates]] * part.x + [new_r[:, gates]] * part.h, 2)
            sides = [half for half, used in enumerate((part.x, part.h)) if used]
            offset = np.sum([new_b[:, half * w.shape[1] + gates] for half in sides], 0)
            rows = Split.of(*zip(*seen, strict=True))
            found = refit(rows, given, offset, b is not None, independent=independent, judges_apart=True)
            if found is None or found.damping is None:
                continue
            dampings.append(found.damping)
            width = w.shape[2] if part.x else 0
            if part.x:
                new_w[:, gates] = found.w[..., :width]
            if part.h:
                new_r[:, gates] = found.w[..., width:]
            new_b[:, sides[0] * w.shape[1] + gates] += found.b - offset
        self._put((new_w, new_r, new_b))
        return max(dampings)

    def _rows(self, from_dense: bool) -> list[Rows]:
        """Per chunk; the state before is that of the dense network, or the pruned one's own."""
        found = []
        outputs = list(self._chunks(self._layer.node.outputs[0]))
        samples, most = self._held, self._most() // (_ROUNDS * len(outputs))
        for at, (x_dense, x) in enumerate(self._chunks(self._layer.x)):
            y_dense, y = outputs[at]
            before_dense = self._before(self._dense, y_dense, at)
            before = before_dense[..., self._units] if from_dense else self._before(self._pruned, y, at)
            steps, batch = x.shape[:2]
            held = np.tile(samples[at], steps)
            # not every so many: those may all be of samples that are held back
            keep = np.sort(np.random.default_rng(at).permutation(len(held))[: max(1, most)])
            flat = [v.reshape(steps * batch, -1)[keep] for v in (x, x_dense)]
            states = [
                np.moveaxis(v, 1, 0).reshape(v.shape[1], steps * batch, -1)[:, keep] for v in (before, before_dense)
            ]
            found.append((flat[0], states[0], flat[1], states[1], held[keep]))
        return found

    def _most(self) -> int:
        """How many rows there is room for: as they are seen, and as they are fitted to, at most."""
        dense, pruned = ([v for v in self._weights(side)[:2] if v is not None] for side in (self._dense, self._pruned))
        inputs = sum(v.shape[2] for v in (*dense, *pruned, *pruned))
        return int(self._room // (4 * len(dense[0]) * (inputs + dense[0].shape[1])))

    def _before(self, side: Interpreter, y: Array, chunk: int) -> Array:
        """The state before every step, (steps, directions, batch, h)."""
        node = self._layer.node
        first = side.value(self._initial(side), chunk)
        start = np.zeros_like(y[0]) if first is None else np.broadcast_to(first, y[0].shape)
        forward = np.concatenate([start[None], y[:-1]])
        backward = np.concatenate([y[1:], start[None]])
        direction = node.attr("direction", "forward")
        if direction == "bidirectional":
            return np.stack([forward[:, 0], backward[:, 1]], 1)
        return backward if direction == "reverse" else forward

    def _initial(self, side: Interpreter) -> str:
        inputs = side.node(self._layer.node).input
        return inputs[5] if len(inputs) > 5 else ""

    def _observed(self, rows: list[Rows], part: Part, held: bool) -> Observations:
        w, r, b = self._weights(self._dense)
        assert w is not None and r is not None
        at = (_of_gates(part, self._hidden).reshape(len(part.gates), -1)[:, self._units]).reshape(-1)
        given, wanted = [], []
        for x, before, x_dense, before_dense, which in rows:
            chosen = which == held
            directions = [np.broadcast_to(x[chosen], (len(before), *x[chosen].shape))] * part.x
            given.append(np.concatenate(directions + [before[:, chosen]] * part.h, 2).astype(np.float32))
            y = np.zeros((len(before), int(chosen.sum()), len(at)), np.float32)
            if part.x:
                y += x_dense[chosen] @ w[:, at].transpose(0, 2, 1)
            if part.h:
                y += before_dense[:, chosen] @ r[:, at].transpose(0, 2, 1)
            for half, used in enumerate((part.x, part.h)):
                if b is not None and used:
                    y += b[:, None, half * w.shape[1] + at]
            wanted.append(y)
        target = np.concatenate(wanted, 1)
        return Observations(np.concatenate(given, 1), target, target)


def _of_gates(part: Part, units: int) -> Array:
    """Rows of the gates of a part."""
    return np.concatenate([np.arange(g * units, (g + 1) * units) for g in part.gates])
