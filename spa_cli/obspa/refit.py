"""Closed-form repair: the weights that remain, fitted to what the dense layer gave."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from spa_cli.engines.pool import ahead, pool_for
from spa_cli.graph.model import Array
from spa_cli.obspa.cholesky import factored, product, solved
from spa_cli.obspa.moments import Moments, damped
from spa_cli.obspa.shrinkage import oracle_approximating
from spa_cli.obspa.wide import DOUBLE
from spa_cli.threads import each

# damping relative to the mean of diag H, beside that of the shrinkage; the best on held-back samples wins
DAMPING = (1e-4, 1e-3, 1e-2, 1e-1)
# the damping of the first of all alternations between weights and the targets that a flat activation leaves open, and
# how many there are once the damping is chosen
_FIRST, _ROUNDS = 1e-3, 4
# rows that are worked on at once
_LEAST_BLOCK, _BLOCK_BYTES = 2048, 16_000_000
# inputs from which on a solution takes longer than to send what it depends on, and beyond which several of them at the
# same time take too much memory
_WORTH, _SEVERAL = 512, 4096
# inputs beyond which a factor is worth its blocks
_FACTORED = 1024
# what shrinkage leaves of a covariance at least
_LEAST = 1e-3


@dataclass(frozen=True, eq=False)
class Observations:
    """What a layer reads and what it should give: ``x`` (g, n, p), ``low`` and ``high`` (g, n, o).

    Any value between ``low`` and ``high`` is as good as any other: they are equal, except where the activation that
    follows is flat (below zero for Relu), which leaves a half-line.
    """

    x: Array
    low: Array
    high: Array

    @staticmethod
    def joined(parts: Sequence[Observations]) -> Observations:
        """All rows of several chunks."""
        x, low = (np.concatenate([getattr(p, f) for p in parts], 1) for f in ("x", "low"))
        # where there is one right value each, it is not stored twice
        exact = all(p.high is p.low for p in parts)
        return Observations(x, low, low if exact else np.concatenate([p.high for p in parts], 1))

    def part(self, which: slice) -> Observations:
        """Some of the rows."""
        return Observations(self.x[:, which], self.low[:, which], self.high[:, which])

    def nearest(self, y: Array) -> Array:
        """The allowed values nearest to ``y``."""
        return np.clip(y, self.low, self.high)

    @cached_property
    def open(self) -> bool:
        """Whether any target is a half-line."""
        return not (np.isfinite(self.low).all() and np.isfinite(self.high).all())

    @property
    def numbers(self) -> bool:
        """Whether nothing is NaN, and infinite only what is open to one side."""
        bounded = (self.low < np.inf) & (self.high > -np.inf)
        return bool(np.isfinite(self.x).all() and bounded.all())

    def missed(self, w: Array, b: Array) -> Array:
        """Mean squared distance of ``W x + b`` from what is allowed, per output; (g, o)."""

        def of(part: Observations) -> Array:
            y = predict(part.x, w, b)
            y -= part.nearest(y)
            return np.asarray(np.einsum("gno,gno->go", y, y))

        total = sum(each(of, self.blocks()), np.zeros(b.shape))
        return np.asarray(total / self.x.shape[1])

    def blocks(self) -> Iterator[Observations]:
        """The rows in parts that a cache holds: what is made of them is small, and nothing large is written."""
        each = max(_LEAST_BLOCK, _BLOCK_BYTES // (4 * (self.x[:, 0].size + 3 * self.low[:, 0].size)))
        return (self.part(slice(at, at + each)) for at in range(0, self.x.shape[1], each))


def predict(x: Array, w: Array, b: Array) -> Array:
    """``W x + b``; (g, n, o)."""
    y = np.matmul(x, w.astype(np.float32).transpose(0, 2, 1))
    y += b[:, None].astype(np.float32)
    return np.asarray(y)


class Known(NamedTuple):
    """All that a solution depends on: ``h`` and mean of the inputs, weights, and of the targets the mean and what the
    weights leave of their covariance, ``C - W0 H``.
    """

    h: Array
    mean_x: Array
    w0: Array
    left: Array
    mean_t: Array

    def fit(self, by_h: Callable[[Array], Array]) -> tuple[Array, Array]:
        """Weights (g, o, p) and intercepts (g, o)."""
        w = self.w0 + by_h(self.left)
        return w, self.mean_t - np.einsum("gop,gp->go", w, self.mean_x)

    def solved(self, damping: float | Array) -> tuple[Array, Array]:
        """For one damping."""
        return self.fit(divider(self.h, damping, often=False))


class Problem:
    """``argmin_W |T - W X|^2 + lambda |W - W0|^2`` on centred statistics, for targets that may still move.

    ``W = W0 + (C - W0 H)(H + lambda I)^-1``: shrinks towards the weights the layer has, not towards zero.
    """

    def __init__(self, rows: Observations, w0: Array, b0: Array, centred: bool) -> None:
        self.rows, self.w0, self.b0 = rows, w0, b0
        self.moments = Moments(centred)
        self.moments.add(rows.x)
        self.h = self.moments.h

    @cached_property
    def first(self) -> tuple[Array, Array]:
        """What is known of the targets at first, and always if none moves."""
        return self.against(self.w0, self.b0)

    def solve(
        self, damping: float | Array, rounds: int, start: tuple[Array, Array] | None = None
    ) -> tuple[Array, Array]:
        """Weights (g, o, p) and intercepts (g, o); ``start``: what is known of the targets to begin with (``first``).

        Where the targets leave room, they are replaced by the allowed values nearest to the fit and the fit is
        repeated: each such step lowers the distance to what is allowed (projections onto two convex sets).
        """
        again = rounds - 1 if self.rows.open else 0
        by_h, given = divider(self.h, damping, often=again > 0), self._given()
        w, b = self._known(given, *(start or self.first)).fit(by_h)
        for _ in range(again):
            w, b = self._known(given, *self.against(w, b)).fit(by_h)
        return w, b

    def _given(self) -> Array:
        """``W0 H``."""
        return product(self.w0.astype(self.h.dtype, copy=False), self.h)

    def _known(self, given: Array, c: Array, mean_t: Array) -> Known:
        return Known(self.h, self.moments.mean_x, self.w0, c - given, mean_t)

    def candidates(
        self, dampings: Sequence[float | Array], start: tuple[Array, Array]
    ) -> Iterator[tuple[float | Array, tuple[Array, Array]]]:
        """Every damping, and what solves for it with these targets: each is a piece of work of its own."""
        at = pool_for(self.h.shape[2], _WORTH, _SEVERAL)
        known = at.send(self._known(self._given(), *start))
        begun = ((damping, at.call(Known.solved, known, damping)) for damping in dampings)
        return ((damping, at.get(found)) for damping, found in ahead(begun, at))

    def against(self, w: Array, b: Array) -> tuple[Array, Array]:
        """Covariance with the inputs and mean of the allowed targets nearest to what ``w`` and ``b`` give."""
        moves = self.rows.open
        return self.moments.against(
            self.rows.blocks(), lambda part: (part.x, part.nearest(predict(part.x, w, b)) if moves else part.low)
        )


def divider(h: Array, damping: float | Array, often: bool) -> Callable[[Array], Array]:
    """``M -> M (H + lambda I)^-1`` for (g, o, p); of wide layers by a Cholesky factor, of very wide ones in single
    precision.

    ``often``: an inverse costs four times as much as a solution, once.
    """
    matrix = damped(h, damping)
    if matrix.shape[2] > _FACTORED:
        lower = [factored(one.astype(np.float32, copy=False) if len(one) > DOUBLE else one) for one in matrix]
        return lambda m: np.stack([solved(*own) for own in zip(lower, m, strict=True)])
    if often:
        inverse = np.linalg.inv(matrix)
        return lambda m: np.asarray(m @ inverse)
    return lambda m: np.linalg.solve(matrix, m.swapaxes(1, 2)).swapaxes(1, 2)


@dataclass(frozen=True, eq=False)
class Fit:
    """New weights (g, o, p) and intercepts (g, o); ``damping`` is ``None`` if only the intercepts are new."""

    w: Array
    b: Array
    damping: float | None


def refit(
    fit: Observations,
    held_back: Observations,
    w0: Array,
    b0: Array,
    centred: bool,
    shift_only: bool = False,
    rows: int = 0,
    judges_apart: bool = False,
) -> Fit | None:
    """What does best on held-back samples; ``None`` where nothing beats ``w0``, ``b0``.

    Damping is chosen with one part of the samples fitted and the other judging; the result is fitted to all.
    ``shift_only``: the weights have to stay, intercepts may move (bias correction). ``rows``: independent ones among
    those to fit to (0: all). ``judges_apart``: those that judge are not fitted to in the end either.
    """
    loss = judged(held_back)
    best, moves = loss(w0, b0), False
    damping: float | Array | None = None
    trial = w0, b0
    if centred and (moved := loss(w0, shifted(fit, w0, b0))) < best:
        best, moves = moved, True
    if not shift_only:
        part = Problem(fit, w0, b0, centred)
        n = fit.x.shape[1]
        shrinkage = np.array([oracle_approximating(h, min(rows or n, n)) for h in part.h])
        # (1 - rho) H + rho mu I is H + rho / (1 - rho) mu I, but for a factor
        # which targets are nearest hardly depends on the damping: all candidates are fitted to the same
        start = part.against(*part.solve(_FIRST, 1)) if fit.open else part.first
        dampings = (*DAMPING, shrinkage / np.maximum(1 - shrinkage, _LEAST))
        for candidate, found in part.candidates(dampings, start):
            if (reached := loss(*found)) < best:
                best, damping, trial = reached, candidate, found
    if damping is None and not moves:
        return None
    everything = fit if judges_apart else Observations.joined([fit, held_back])
    if damping is None:
        return Fit(w0.copy(), shifted(everything, w0, b0), None)
    whole = Problem(everything, w0, b0, centred)
    return Fit(*whole.solve(damping, _ROUNDS, whole.against(*trial)), float(np.mean(damping)))


def judged(rows: Observations) -> Callable[[Array, Array], float]:
    """What weights and intercepts miss on these rows, relative to the spread of each output."""
    # an output that is off nearly always has hardly any: what it misses must not outweigh all others
    spread = np.clip(0, rows.low, rows.high).var(1, dtype=np.float64)
    scale = np.maximum(spread, max(1e-2 * float(spread.mean()), 1e-12))
    return lambda w, b: float((rows.missed(w, b) / scale).mean())


def shifted(rows: Observations, w: Array, b: Array) -> Array:
    """Intercepts for which the mean of what is missed is zero."""
    total = np.zeros(b.shape)
    for part in rows.blocks():
        y = predict(part.x, w, b)
        total += (part.nearest(y) - y).sum(1, dtype=np.float64)
    return np.asarray(b + total / rows.x.shape[1])
