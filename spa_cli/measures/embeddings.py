"""Vectors that are compared with each other: their cosine with what they were."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from spa_cli.graph.model import Array
from spa_cli.measures.agreement import KAPPA
from spa_cli.measures.interval import Estimate, Floats, Tally, jackknife
from spa_cli.measures.judged import Found, by_sample, figure

# different samples whose vectors are nearer than this are not told apart by the original either
_ALIKE = 0.999


class Embeddings:
    """Along the last axis. All vectors of a network may point much the same way: what counts is how much nearer each is
    to its own than to those of other samples.
    """

    def __init__(self) -> None:
        # cosines with their own, how many
        self._tally = Tally(2)
        self._sums: list[Floats] | None = None

    def add(self, before: list[Any], after: list[Any], samples: int) -> None:
        """One run of both."""
        a, b = (_unit(by_sample(v, samples)) for v in (before[0], after[0]))
        if a.shape != b.shape or not a.size:
            return
        self._tally.add((a * b).sum((1, 2)), np.full(len(a), a.shape[1]))
        found = [v.sum((0, 1)) for v in (a, b)]
        self._sums = found if self._sums is None else [s + f for s, f in zip(self._sums, found, strict=True)]

    @property
    def found(self) -> Found:
        """Of all runs so far."""
        own, every = self._tally.columns
        if self._sums is None:
            return Found(None, "none of one shape", {}, False)
        cosine = jackknife([own, every], lambda o, e: o / e)
        count = float(every.sum())
        apart = math.nan
        if count > 1:
            apart = (float(self._sums[0] @ self._sums[1]) - float(own.sum())) / (count * (count - 1))
        if math.isnan(apart) or apart > _ALIKE:
            return Found(_bounded(cosine), f"cosine {figure(cosine)}", {"cosine": cosine}, cosine.most < KAPPA)
        beyond = _bounded(Estimate(*((v - apart) / (1 - apart) for v in (cosine.value, cosine.low, cosine.high))))
        text = f"cosine {figure(cosine)}; {beyond.value:.3g} beyond that of other samples"
        figures = {"cosine": cosine, "cosine_of_others": Estimate(apart), "cosine_beyond": beyond}
        return Found(beyond, text, figures, beyond.most < KAPPA)


def _unit(values: Array) -> Floats:
    """(n, vectors, size) of length 1; of what is no number 0."""
    rows = np.asarray(values, np.float64).reshape(len(values), -1, values.shape[-1])
    with np.errstate(all="ignore"):
        found = rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-30)
    return np.asarray(np.nan_to_num(found, nan=0.0, posinf=0.0, neginf=0.0))


def _bounded(estimate: Estimate) -> Estimate:
    """No cosine is above 1."""
    return Estimate(estimate.value, estimate.low, min(1.0, estimate.high))
