"""One Gauss-Newton step of two layers: the change of the first that serves what the second gives.

Least squares with what stands between the layers linearised, ``argmin_dW |r - B D (dW X)|^2``: ``X`` is what the first
layer reads, ``D`` the slope of what stands between, ``B`` the second layer and ``r`` what it misses. The normal
equations are solved by a few conjugate gradients, preconditioned by their Kronecker factors ``B^T B * E[D D^T]`` and
``E[X X^T]`` (Martens and Grosse 2015, arXiv 1503.05671). Nothing is propagated through more than these two layers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from spa_cli.graph.model import Array
from spa_cli.obspa.layers import Layer
from spa_cli.obspa.moments import Moments, damped
from spa_cli.obspa.product import Product

# relative to the mean of the diagonal of each Kronecker factor; early stopping does the rest
DAMPING, _ITERATIONS = 1e-2, 3


@dataclass(frozen=True, eq=False)
class PairSamples:
    """Some samples: ``rows`` (g, n, p) that the first layer reads (with ones, if it has an intercept), ``z`` that it
    gives, ``h`` that the second reads, ``y`` that the second gives, to lie between ``low`` and ``high``.
    """

    rows: Array
    z: Array
    h: Array
    y: Array
    low: Array
    high: Array


@dataclass(frozen=True, eq=False)
class Block:
    """A pair, with what it computes: ``between`` the layers, ``product`` of the second, ``scale`` of its norm."""

    first: Layer
    between: Callable[[Array], Array]
    product: Product
    scale: Array

    def change(self, samples: PairSamples, step: Array) -> Array:
        """What a ``step`` (g, o, p) of the weights adds to the output of the first layer."""
        rows = np.matmul(samples.rows, step.astype(np.float32).transpose(0, 2, 1))
        return self.first.spread(rows, samples.z.shape)

    def missed(self, samples: PairSamples, step: Array | None = None) -> Array:
        """What the second layer's output lacks after a step: zero where it lies between ``low`` and ``high``."""
        y = samples.y
        if step is not None:
            h = self.between(samples.z + self.change(samples, step))
            y = y + self.scale * self.product.apply(h - samples.h)
        return np.asarray(np.clip(y, samples.low, samples.high) - y)

    def error(self, samples: PairSamples, step: Array | None = None) -> float:
        """Sum of squares of ``missed``."""
        return float(np.square(self.missed(samples, step), dtype=np.float64).sum())

    def slope(self, samples: PairSamples) -> Array:
        """Derivative of ``between``, element by element, by central differences relative to a channel's size."""
        others = tuple(i for i in range(samples.z.ndim) if i != self.first.gives_along)
        size = np.sqrt(np.square(samples.z, dtype=np.float64).mean(others, keepdims=True))
        step = (1e-3 * np.maximum(size, 1e-6)).astype(np.float32)
        return np.asarray((self.between(samples.z + step) - self.between(samples.z - step)) / (2 * step))


def gauss_newton(block: Block, samples: PairSamples, gram: Array) -> Array:
    """The step (g, o, p) of the first layer's weights.

    ``gram`` (g, o, o): ``B^T B`` over the second layer's outputs, for the channels of each group of the first.
    """
    rows, slope = samples.rows, block.slope(samples)
    missed = block.missed(samples)
    # where any value will do, nothing is gained or lost
    active = ((missed != 0) | (samples.low == samples.high)) * block.scale

    def forward(step: Array) -> Array:
        return np.asarray(active * block.product.apply(slope * block.change(samples, step)))

    def backward(error: Array) -> Array:
        back = block.first.outputs_at(slope * block.product.adjoint(active * error), None, len(rows))
        return np.asarray(np.matmul(back.transpose(0, 2, 1), rows).astype(np.float64))

    slopes = block.first.outputs_at(slope, None, len(rows))
    inner, outer = damped(gram * _second_moment(slopes), DAMPING), damped(_second_moment(rows), DAMPING)
    left, right = np.linalg.inv(inner), np.linalg.inv(outer)
    level = 0.1 * DAMPING * rows.shape[1]
    return conjugate_gradients(
        lambda step: np.asarray(backward(forward(step)) + level * (inner @ step @ outer)),
        backward(missed),
        lambda error: np.asarray(left @ error @ right),
        _ITERATIONS,
    )


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


def _second_moment(rows: Array) -> Array:
    moments = Moments()
    moments.add(rows)
    return moments.second
