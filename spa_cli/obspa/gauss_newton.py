"""One Gauss-Newton step of two layers: the change of the first that serves what the second gives.

Least squares with what stands behind the first layer linearised, ``argmin_dW |r - J (dW X)|^2``: ``X`` is what it
reads, ``J`` the slope of what the second gives in what the first gives, and ``r`` what the second misses. The normal
equations are solved by a few conjugate gradients, preconditioned by their Kronecker factors ``E[g g^T]`` (``g = J^T s``
for random signs ``s``) and ``E[X X^T]`` (Martens and Grosse 2015, arXiv 1503.05671). Nothing is propagated through more
than these two layers and what stands between them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from spa_cli.graph.model import Array
from spa_cli.obspa.cholesky import product
from spa_cli.obspa.layers import Layer
from spa_cli.obspa.moments import Moments, damped
from spa_cli.obspa.refit import divider
from spa_cli.obspa.region import Region
from spa_cli.threads import beside, each

# relative to the mean of the diagonal of each Kronecker factor; early stopping does the rest
DAMPING, _ITERATIONS = 1e-2, 3


@dataclass(frozen=True, eq=False)
class PairSamples:
    """Some samples: ``rows`` (g, n, p) that the first layer reads (with ones, if it has an intercept), ``given``: what
    it gives and what else comes in behind it, ``y`` that the second gives, to lie between ``low`` and ``high``.
    """

    rows: Array
    given: dict[str, Array]
    y: Array
    low: Array
    high: Array

    @cached_property
    def missed(self) -> Array:
        """What ``y`` lacks: zero where it lies between ``low`` and ``high``."""
        return np.asarray(np.clip(self.y, self.low, self.high) - self.y)

    @cached_property
    def fixed(self) -> Array:
        """Where not any value will do: elsewhere nothing is lost or gained."""
        return np.asarray((self.missed != 0) | (self.low == self.high))


@dataclass(frozen=True, eq=False)
class Block:
    """A pair, with what it computes: ``region`` from what the first gives to what the second gives."""

    first: Layer
    region: Region

    def change(self, samples: PairSamples, step: Array) -> Array:
        """What a ``step`` (g, o, p) of the weights adds to the output of the first layer."""
        rows = np.matmul(samples.rows, step.astype(np.float32).transpose(0, 2, 1))
        return self.first.spread(rows, samples.given[self.region.start].shape)

    def missed(self, samples: PairSamples, step: Array | None = None) -> Array:
        """What the second layer's output lacks after a step: zero where it lies between ``low`` and ``high``."""
        if step is None:
            return samples.missed
        return replace(samples, y=self.region.moved(samples.given, self.change(samples, step))).missed

    def error(self, parts: Sequence[PairSamples], step: Array | None = None) -> float:
        """Sum of squares of ``missed``."""
        return sum(each(lambda part: float(np.square(self.missed(part, step), dtype=np.float64).sum()), parts))

    def felt(self, samples: PairSamples, error: Array) -> Array:
        """``J^T`` of an error, at every row, as far as it is one (``PairSamples.fixed``)."""
        back = self.region.pulled(samples.given, np.where(samples.fixed, error, np.float32(0)))
        return self.first.outputs_at(back, None, len(samples.rows))

    def gradient(self, samples: PairSamples, error: Array) -> Array:
        """``J^T`` of an error, in the weights (g, o, p)."""
        rows = self.felt(samples, error).transpose(0, 2, 1)
        return np.asarray(np.matmul(rows, samples.rows).astype(np.float64))

    def curvature(self, samples: PairSamples, step: Array) -> Array:
        """``J^T J`` of a step."""
        return self.gradient(samples, self.region.pushed(samples.given, self.change(samples, step)))


def gauss_newton(block: Block, parts: Sequence[PairSamples], rng: np.random.Generator) -> Array:
    """The step (g, o, p) of the first layer's weights; ``rng`` draws what its preconditioner is measured with."""
    felt, read = Moments(), Moments()
    signs = (np.copysign(np.float32(1), rng.random(part.y.shape, np.float32) - 0.5) for part in parts)
    felt.add_all(each(lambda pair: block.felt(*pair), zip(parts, signs, strict=True)))
    read.add_all(part.rows for part in parts)
    inner, outer = damped(felt.second, DAMPING), damped(read.second, DAMPING)
    divided = beside(divider, outer, 0, True)
    wanted = np.asarray(sum(each(lambda part: block.gradient(part, block.missed(part)), parts)))
    by_inner, by_outer = divider(inner, 0, often=True), divided()
    level = 0.1 * DAMPING * sum(part.rows.shape[1] for part in parts)

    def alone(error: Array) -> Array:
        return by_outer(by_inner(error.swapaxes(1, 2)).swapaxes(1, 2))

    def curvature(step: Array) -> Array:
        return np.asarray(
            sum(each(lambda part: block.curvature(part, step), parts)) + level * product(product(inner, step), outer)
        )

    return conjugate_gradients(curvature, wanted, alone, _ITERATIONS)


def conjugate_gradients(
    apply: Callable[[Array], Array], wanted: Array, precondition: Callable[[Array], Array], iterations: int
) -> Array:
    """``x`` with ``apply(x) = wanted``, from zero; ``apply`` is symmetric and positive."""
    x, rest = np.zeros_like(wanted), wanted
    direction = near = precondition(rest)
    size = float(np.vdot(rest, near))
    for _ in range(iterations):
        if size <= 0:
            break
        applied = apply(direction)
        length = size / float(np.vdot(direction, applied))
        x, rest = x + length * direction, rest - length * applied
        near = precondition(rest)
        size, before = float(np.vdot(rest, near)), size
        direction = near + size / before * direction
    return x
