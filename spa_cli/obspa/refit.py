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
from spa_cli.obspa.observations import Observations, Split, predict
from spa_cli.obspa.shrinkage import oracle_approximating
from spa_cli.obspa.wide import DOUBLE
from spa_cli.threads import beside

# damping relative to the mean of diag H, beside that of the shrinkage; the best on held-back samples wins
DAMPING = (1e-4, 1e-3, 1e-2, 1e-1)
# the damping of the first of all alternations between weights and the targets that a flat activation leaves open, and
# how many there are once the damping is chosen
_FIRST, _ROUNDS = 1e-3, 4
# inputs from which on a solution takes longer than to send what it depends on, and beyond which several of them at the
# same time take too much memory
_WORTH, _SEVERAL = 512, 4096
# inputs beyond which a factor is worth its blocks
_FACTORED = 1024
# what shrinkage leaves of a covariance at least
_LEAST = 1e-3


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
        self, damping: float | Array, rounds: int, near: tuple[Array, Array] | None = None
    ) -> tuple[Array, Array]:
        """Weights (g, o, p) and intercepts (g, o); ``near``: of both those whose targets are taken to begin with.

        Where the targets leave room, they are replaced by the allowed values nearest to the fit and the fit is
        repeated: each such step lowers the distance to what is allowed (projections onto two convex sets).
        """
        again = rounds - 1 if self.rows.open else 0
        divided, given = beside(divider, self.h, damping, again > 0), self._given()
        start = self.against(*near) if near else self.first
        by_h = divided()
        w, b = self._known(given, *start).fit(by_h)
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
    rows: Split,
    w0: Array,
    b0: Array,
    centred: bool,
    shift_only: bool = False,
    independent: int = 0,
    judges_apart: bool = False,
) -> Fit | None:
    """What does best on held-back samples; ``None`` where nothing beats ``w0``, ``b0``.

    Damping is chosen with one part of the samples fitted and the other judging; the result is fitted to all.
    ``shift_only``: the weights have to stay, intercepts may move (bias correction). ``independent``: rows among those
    to fit to (0: all). ``judges_apart``: those that judge are not fitted to in the end either.
    """
    fit, loss = rows.fit, rows.held_back.judge()
    best, moves = loss(w0, b0), False
    damping: float | Array | None = None
    trial = w0, b0
    if centred and (moved := loss(w0, fit.shifted(w0, b0))) < best:
        best, moves = moved, True
    if not shift_only:
        part = Problem(fit, w0, b0, centred)
        n = fit.x.shape[1]
        shrinkage = np.array([oracle_approximating(h, min(independent or n, n)) for h in part.h])
        # (1 - rho) H + rho mu I is H + rho / (1 - rho) mu I, but for a factor
        # which targets are nearest hardly depends on the damping: all candidates are fitted to the same
        start = part.against(*part.solve(_FIRST, 1)) if fit.open else part.first
        dampings = (*DAMPING, shrinkage / np.maximum(1 - shrinkage, _LEAST))
        for candidate, found in part.candidates(dampings, start):
            if (reached := loss(*found)) < best:
                best, damping, trial = reached, candidate, found
    if damping is None and not moves:
        return None
    everything = fit if judges_apart else rows.rows
    if damping is None:
        return Fit(w0.copy(), everything.shifted(w0, b0), None)
    whole = Problem(everything, w0, b0, centred)
    return Fit(*whole.solve(damping, _ROUNDS, trial), float(np.mean(damping)))
