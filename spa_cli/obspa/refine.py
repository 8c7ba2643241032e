"""Refining the first layer of a pair for what the second gives.

A layer is first fitted to its own dense outputs, which leaves out what the channels that were cut did. Here its weights
``W`` move so that the second layer, as fitted, comes closer to *its* targets: least squares with the layers between
linearised (Gauss-Newton), ``argmin_dW |r - B D (dW X)|^2``, where ``X`` is what the first layer reads, ``D`` the slope
of what stands between, ``B`` the second layer and ``r`` what it misses. The normal equations are solved by a few
conjugate gradients, preconditioned by their Kronecker factors ``B^T B * E[D D^T]`` and ``E[X X^T]`` (Martens and
Grosse 2015, arXiv 1503.05671). Nothing is propagated through more than these two layers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter

import numpy as np

from spa_cli.graph.model import Array
from spa_cli.obspa.layers import Layer
from spa_cli.obspa.pairs import Pair
from spa_cli.obspa.product import Product
from spa_cli.obspa.refit import Fit
from spa_cli.obspa.side import Side
from spa_cli.obspa.statistics import WIDEST
from spa_cli.obspa.targets import Regression, fitted

# positions of the first layer that are looked at, and the bytes that all that is known of them may take
_POSITIONS, _BYTES = 65_536, 200_000_000
# relative to the mean of the diagonal of each Kronecker factor; early stopping does the rest
_DAMPING, _ITERATIONS = 1e-2, 3
# fractions of the step that are tried on held-back samples
_STEPS = (1.0, 0.5, 0.25)
# of the error, what a step has to gain; of the output, an error that is none
_GAIN, _NOTHING = 1e-3, 1e-8


@dataclass(frozen=True, eq=False)
class Samples:
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

    def change(self, samples: Samples, step: Array) -> Array:
        """What a ``step`` (g, o, p) of the weights adds to the output of the first layer."""
        rows = np.matmul(samples.rows, step.astype(np.float32).transpose(0, 2, 1))
        return self.first.spread(rows, samples.z.shape)

    def missed(self, samples: Samples, step: Array | None = None) -> Array:
        """What the second layer's output lacks after a step: zero where it lies between ``low`` and ``high``."""
        y = samples.y
        if step is not None:
            h = self.between(samples.z + self.change(samples, step))
            y = y + self.scale * self.product.apply(h - samples.h)
        return np.asarray(np.clip(y, samples.low, samples.high) - y)

    def error(self, samples: Samples, step: Array | None = None) -> float:
        """Sum of squares of ``missed``."""
        return float(np.square(self.missed(samples, step), dtype=np.float64).sum())

    def slope(self, samples: Samples) -> Array:
        """Derivative of ``between``, element by element, by central differences relative to a channel's size."""
        others = tuple(i for i in range(samples.z.ndim) if i != self.first.gives_along)
        size = np.sqrt(np.square(samples.z, dtype=np.float64).mean(others, keepdims=True))
        step = (1e-3 * np.maximum(size, 1e-6)).astype(np.float32)
        return np.asarray((self.between(samples.z + step) - self.between(samples.z - step)) / (2 * step))


def refine(pair: Pair, first: Regression, second: Regression, operand: Array, pruned: Side) -> Fit | None:
    """New weights of the first layer; ``None`` if none does better on held-back samples, or can't be told.

    ``operand``: the second layer's weight. Both layers have run with the weights they have.
    """
    values, start = pruned.values, pair.first.around.output
    x, z, h = values[pair.first.x], values[start], values[pair.second.x]
    alike = all(len({v.shape[1:] for v in each}) == 1 for each in (x, z, h)) and z[0].shape == h[0].shape
    if not alike or max(first.matrix.shape) > WIDEST or {v.dtype for v in (*z, *h)} != {np.dtype(np.float32)}:
        return None
    between = pruned.function([pruned.node(n) for n in pair.between], start, pair.second.x)
    parts = _parts([len(v) for v in z], pair.first.positions(x[0].shape), first, second)
    if between is None or parts is None:
        return None
    fit, held = (_samples(pair, first, second, values, part) for part in parts)
    if fit is None or held is None:
        return None
    scale = np.ones(1, np.float32)
    if second.scale is not None:
        along = [-1 if i == pair.second.gives_along else 1 for i in range(held.y.ndim)]
        scale = second.scale.astype(np.float32).reshape(along)
    block = Block(pair.first, between, Product(pair.second, operand, h[0].shape), scale)
    before = block.error(held)
    if before <= _NOTHING * float(np.square(held.y, dtype=np.float64).sum()):
        return None
    step = gauss_newton(block, fit, _gram(pair.second, second, operand.shape, first.matrix.shape[:2]))
    fits = [_moved(first, t * step) for t in _STEPS]
    errors = np.nan_to_num([block.error(held, _step(first, each)) for each in fits], nan=np.inf)
    best = int(np.argmin(errors))
    return fits[best] if errors[best] < (1 - _GAIN) * before else None


def _moved(first: Regression, step: Array) -> Fit:
    p = first.matrix.shape[2]
    offset = first.offset + step[..., p] if first.centred else first.offset
    return Fit(first.as_stored(first.matrix + step[..., :p]), offset, _DAMPING)


def _step(first: Regression, fit: Fit) -> Array:
    change = fit.w - first.matrix
    return np.concatenate([change, (fit.b - first.offset)[..., None]], 2) if first.centred else change


def _parts(
    counts: list[int], positions: int, first: Regression, second: Regression
) -> list[dict[int, list[int]]] | None:
    """Samples of each chunk to fit to, and to judge by: as many as the limits allow, spread evenly."""
    groups, o, p = first.matrix.shape
    # rows; z, h, slope and what is made of them; y, its bounds and what is missed
    bytes_each = 4 * (groups * (p + 1 + 8 * o) + 4 * second.offset.size)
    affordable = min(_POSITIONS, _BYTES // bytes_each) // max(positions, 1)
    cuts = [fitted(count, chunk) for chunk, count in enumerate(counts)]
    fit = [(chunk, i) for chunk, cut in enumerate(cuts) for i in range(cut)]
    held = [(chunk, i) for chunk, cut in enumerate(cuts) for i in range(cut, counts[chunk])]
    share = min(1.0, affordable / max(len(fit), 1))
    parts = []
    for samples in (fit, held):
        if not int(share * len(samples)):
            return None
        part: dict[int, list[int]] = {}
        for at in np.linspace(0, len(samples) - 1, int(share * len(samples))).astype(int):
            part.setdefault(samples[at][0], []).append(samples[at][1])
        parts.append(part)
    return parts


def _samples(
    pair: Pair, first: Regression, second: Regression, values: dict[str, list[Array]], part: dict[int, list[int]]
) -> Samples | None:
    bounds = []
    for chunk, index in part.items():
        found = second.allowed(chunk, itemgetter(index))
        if isinstance(found, str):
            return None
        bounds.append(found)

    def taken(name: str) -> Array:
        return np.concatenate([values[name][chunk][index] for chunk, index in part.items()])

    rows = pair.first.inputs_at(taken(pair.first.x), None, len(first.matrix)).astype(np.float32)
    if first.centred:
        rows = np.concatenate([rows, np.ones((*rows.shape[:2], 1), np.float32)], 2)
    low, high = (np.concatenate([each[i] for each in bounds]) for i in (0, 1))
    y = taken(pair.second.around.after_norm)
    z, h = taken(pair.first.around.output), taken(pair.second.x)
    return Samples(rows, z, h, y, low, high) if y.shape == low.shape else None


def _gram(layer: Layer, problem: Regression, shape: tuple[int, ...], blocks: tuple[int, ...]) -> Array:
    """``B^T B`` over the outputs of ``layer``, as far as it concerns channels of one of the (g, o) ``blocks``."""
    w = problem.matrix if problem.scale is None else problem.matrix * problem.scale[..., None]
    groups, c = len(w), shape[1] if layer.conv else w.shape[2]
    parts = w.reshape(groups, w.shape[1], c, -1).swapaxes(1, 2).reshape(groups, c, -1)
    gram = np.zeros((*blocks, blocks[1]))
    for at, part in enumerate(parts):
        square = part @ part.T
        for block in range(at * c // blocks[1], ((at + 1) * c - 1) // blocks[1] + 1):
            low, high = max(at * c, block * blocks[1]), min((at + 1) * c, (block + 1) * blocks[1])
            here = slice(low - block * blocks[1], high - block * blocks[1])
            gram[block, here, here] = square[low - at * c : high - at * c, low - at * c : high - at * c]
    return gram


def gauss_newton(block: Block, samples: Samples, gram: Array) -> Array:
    """The step (g, o, p) of the first layer's weights; ``gram``: see ``_gram``."""
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
    inner, outer = _damped(gram * _second_moment(slopes)), _damped(_second_moment(rows))
    left, right = np.linalg.inv(inner), np.linalg.inv(outer)
    level = 0.1 * _DAMPING * rows.shape[1]
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
    return np.asarray((np.matmul(rows.transpose(0, 2, 1), rows) / rows.shape[1]).astype(np.float64))


def _damped(factor: Array) -> Array:
    size = factor.shape[-1]
    level = np.maximum(np.trace(factor, axis1=1, axis2=2) / size * _DAMPING, 1e-12)
    return np.asarray(factor + level[:, None, None] * np.eye(size))
