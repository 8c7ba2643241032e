"""One network beside the one that it is to match: how far it is, and which way is nearer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from onnxruntime import InferenceSession

from spa_cli.adjoints.weights import WeightGradients, computed, opened, weight_gradients
from spa_cli.analysis import Analysis, shapes_at
from spa_cli.calibration.chunks import samples_in
from spa_cli.calibration.focus import FOCUS
from spa_cli.graph.model import Array
from spa_cli.graph.states import State, narrowed
from spa_cli.graph.view import build
from spa_cli.obspa.regression import aligned
from spa_cli.runtime.probe import probe
from spa_cli.surgery.cut import Cut
from spa_cli.threads import each
from spa_cli.tuning.augment import TOLD
from spa_cli.tuning.batches import Feeds
from spa_cli.tuning.losses import with_losses
from spa_cli.tuning.terms import VALUES, Term

Weights = dict[str, Array]
# how much sums inside count together, an output being one: where it is judged, and where it is trained. They say more
# of a sample than scores do, and what is learned from them holds for others: ResNet-20 at a third of its MACs comes to
# 87.05 % in 256 steps by 8, to 86.4 by a half, to 87.1 by 30
_INNER, _TAUGHT = 0.5, 8.0
# samples that tell how much something varies
_LOOKED = 64
# losses that are as good as none: a divergence, the part of its variance that a channel is off by, and the part of the
# mean of all sums inside
_NOTHING, _UNLOST, _BESIDE = 1e-6, 1e-4, 0.1


class Match:
    """``terms``: what is compared; ``samples``: some on which the original is seen first; ``more``: other runs, which
    tell how much it varies; ``states``: those of the pruned network that lost channels; ``work``: how it was cut, where
    that is known. ``together``: runs that are made at the same time, on one thread each: small tensors are hardly
    faster on several.
    """

    def __init__(
        self,
        original: Analysis,
        pruned: Analysis,
        terms: Sequence[Term],
        weights: Sequence[str],
        samples: Feeds,
        more: Sequence[Feeds] = (),
        states: Sequence[State] = (),
        work: Cut | None = None,
        together: int = 1,
    ) -> None:
        threads = 1 if together > 1 else None
        self._states = tuple(states)
        self._narrow: dict[str, Callable[[Array], Array]] = {state.output: state.narrowed for state in states}
        if work is not None:
            self._narrow |= {t.tensor: partial(aligned, work, t.tensor) for t in terms if t.inner}
        self.terms = tuple(terms)
        self._tensors = list(dict.fromkeys(t.tensor for t in terms if not t.told))
        self._takes = tuple(original.graph.inputs)
        self._original: InferenceSession = opened(probe(original.graph.in_memory(), self._tensors), threads)
        seen = self.seen(samples)
        spread = self._spreads(seen, more)
        self._channels = np.array([len(spread[t.tensor]) if t.form == VALUES else 1 for t in terms])
        losses = with_losses(pruned.graph, pruned.state.shapes, self.terms, spread)
        self._inputs, self._told = losses.given, losses.told
        graph = build(losses.model, pruned.graph.folder)
        sizes = {n: tuple(np.shape(v)) for n, v in self._all(samples, seen).items()}
        self.gradients: WeightGradients = weight_gradients(
            graph, shapes_at(graph, sizes), weights, losses.names, threads
        )
        self._names = losses.names
        # what every loss counts where it is judged, and in a step; one until it is known how large it is
        self.scale, self.taught = np.ones(len(terms)), np.ones(len(terms))

    def _spreads(self, seen: Feeds, more: Sequence[Feeds]) -> dict[str, Array]:
        """By tensor, the variance of every channel; of those that hardly vary what is small beside the rest."""
        axes = {t.tensor: t.axis for t in self.terms if t.form == VALUES}
        alike = {t.tensor for t in self.terms if t.alike}
        sums = {name: _sums(seen[name], axis) for name, axis in axes.items()}
        looked = 0
        for feeds in more:
            if looked >= _LOOKED:
                break
            other, looked = self.seen(feeds), looked + samples_in(feeds)
            sums = {name: sums[name] + _sums(other[name], axis) for name, axis in axes.items()}
        found = {}
        for name, (count, first, second) in sums.items():
            variance = second / count - np.square(first / count)
            mean = max(float(variance.mean()), 1e-9)
            found[name] = np.full_like(variance, mean) if name in alike else np.maximum(variance, 1e-3 * mean)
        return found

    def seen(self, feeds: Feeds) -> Feeds:
        """What the original gives for these, by tensor that is compared; of states what the pruned network has."""
        taken = {name: feeds[name] for name in self._takes if name in feeds}
        found = zip(self._tensors, self._original.run(self._tensors, taken), strict=True)
        return {name: self._narrow[name](value) if name in self._narrow else value for name, value in found}

    def _all(self, feeds: Feeds, seen: Feeds | None = None) -> Feeds:
        """What the pruned network and its losses take: samples, what the original gives, what they were told."""
        seen = self.seen(feeds) if seen is None else seen
        found = narrowed({name: feeds[name] for name in self._takes if name in feeds}, self._states)
        found |= {self._inputs[tensor]: value for tensor, value in seen.items()}
        return found if self._told is None else {**found, self._told: feeds[TOLD]}

    def losses(self, feeds: Feeds, weights: Mapping[str, Array]) -> Array:
        """Every term's."""
        found = np.array([*self.gradients.outputs(self._all(feeds), weights).values()], np.float64)
        # a divergence of next to nothing may be rounded to less
        return np.maximum(found, 0)

    def weigh(self, judges: Sequence[Feeds], weights: Mapping[str, Array], focus: str = "") -> None:
        """Let every loss of an output count as much as another, by what is lost now, and all sums inside half of that;
        in a step more than all outputs.

        The output that is in ``focus`` counts ``FOCUS`` times.
        """
        lost = self._lost(judges, weights)
        inner = np.array([t.inner for t in self.terms])
        share = np.where(inner, _INNER / max(int(inner.sum()), 1), 1 / max(int((~inner).sum()), 1))
        share = share * np.array([FOCUS if t.tensor == focus else 1 for t in self.terms])
        # what is hardly lost must not outweigh all else: a sum before anything was cut
        least = np.where([t.form == VALUES for t in self.terms], _UNLOST * self._channels, _NOTHING)
        if inner.any():
            least = np.where(inner, np.maximum(least, _BESIDE * float(lost[inner].mean())), least)
        self.scale = share / np.maximum(lost, least)
        self.taught = np.where(inner, _TAUGHT / _INNER, 1.0) * self.scale

    def held(self, parts: Sequence[Feeds], weights: Mapping[str, Array]) -> float:
        """The weighted loss over samples, as ``weigh`` weighs it."""
        return float(self._lost(parts, weights) @ self.scale)

    def _lost(self, parts: Sequence[Feeds], weights: Mapping[str, Array]) -> Array:
        """Every term's loss, over all samples of these runs."""
        # opened once
        _ = self.gradients.forward
        found = np.array([*each(lambda feeds: self.losses(feeds, weights), parts)])
        return np.average(found, 0, [samples_in(feeds) for feeds in parts])

    def slope(self, parts: Sequence[Feeds], weights: Mapping[str, Array]) -> tuple[float, Weights]:
        """The weighted loss of one step's samples, as steps weigh it, and its gradient, by weight."""
        loss, total, samples = 0.0, Weights(), sum(map(samples_in, parts))
        _ = self.gradients.backward
        slopes = each(lambda feeds: self._slope(feeds, weights), parts)
        for feeds, (value, gradients) in zip(parts, slopes, strict=True):
            share = samples_in(feeds) / samples
            loss += value * share
            for name, gradient in gradients.items():
                gradient *= gradient.dtype.type(share)
                total[name] = np.add(total[name], gradient, out=gradient) if name in total else gradient
        return loss, total

    def _slope(self, feeds: Feeds, weights: Mapping[str, Array]) -> tuple[float, Weights]:
        found = self.gradients
        slopes = {found.adjoint.cotangents[n]: np.float32(s) for n, s in zip(self._names, self.taught, strict=True)}
        names = [*self._names, *(found.adjoint.gradients[n] for n in found.names)]
        values = computed(found.backward, found.adjoint.model, names, {**self._all(feeds), **weights, **slopes})
        loss = sum(float(values.pop(n)) * s for n, s in zip(self._names, self.taught, strict=True))
        return loss, dict(zip(found.names, values.values(), strict=True))


def _sums(values: Array, axis: int) -> Array:
    """(3, channels): how many there are of each, their sum and that of their squares."""
    rows = np.moveaxis(values, axis, -1).reshape(-1, values.shape[axis]).astype(np.float64)
    return np.stack([np.full(rows.shape[1], float(len(rows))), rows.sum(0), np.square(rows).sum(0)])
