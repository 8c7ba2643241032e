"""Refining the first layer of a pair for what the second gives.

A layer is first fitted to its own dense outputs, which leaves out what the channels that were cut did. Here its weights
move so that the second layer, as fitted, comes closer to *its* targets: one step, judged on held-back samples.
"""

from __future__ import annotations

from operator import itemgetter

import numpy as np

from spa_cli.graph.model import Array
from spa_cli.obspa.gauss_newton import DAMPING, Block, PairSamples, gauss_newton
from spa_cli.obspa.layers import Layer
from spa_cli.obspa.pairs import Pair
from spa_cli.obspa.product import Product
from spa_cli.obspa.refit import Fit
from spa_cli.obspa.regression import Regression, fitted
from spa_cli.obspa.statistics import WIDEST
from spa_cli.obspa.unfit import Unfit
from spa_cli.runtime.interpreter import Interpreter

# positions of the first layer that are looked at, and the bytes that all that is known of them may take
_POSITIONS, _BYTES = 65_536, 200_000_000
# fractions of the step that are tried on held-back samples
_STEPS = (1.0, 0.5, 0.25)
# of the error, what a step has to gain; of the output, an error that is none
_GAIN, _NOTHING = 1e-3, 1e-8


def refine(pair: Pair, first: Regression, second: Regression, operand: Array, pruned: Interpreter) -> Fit | None:
    """New weights of the first layer; ``None`` if none does better on held-back samples, or can't be told.

    ``operand``: the second layer's weight. Both layers have run with the weights they have.
    """
    if max(first.matrix.shape) > WIDEST:
        return None
    start = pair.first.around.output
    x, z, h = pruned.peek([pair.first.x, start, pair.second.x], 0)
    counts = [next(iter(s), 0) for s in pruned.values[pair.first.x].shapes]
    if z.shape[:1] != h.shape[:1] or {z.dtype, h.dtype} != {np.dtype(np.float32)}:
        return None
    between = pruned.function([pruned.node(n) for n in pair.between], start, pair.second.x)
    parts = _parts(counts, pair.first.positions(x.shape), first, second)
    if between is None or parts is None:
        return None
    fit, held = (_samples(pair, first, second, pruned, part) for part in parts)
    if fit is None or held is None:
        return None
    scale = np.ones(1, np.float32)
    if second.scale is not None:
        along = [-1 if i == pair.second.gives_along else 1 for i in range(held.y.ndim)]
        scale = second.scale.astype(np.float32).reshape(along)
    block = Block(pair.first, between, Product(pair.second, operand, h.shape), scale)
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
    return Fit(first.as_stored(first.matrix + step[..., :p]), offset, DAMPING)


def _step(first: Regression, fit: Fit) -> Array:
    change = fit.w - first.matrix
    return np.concatenate([change, (fit.b - first.offset)[..., None]], 2) if first.centred else change


def _parts(
    counts: list[int], positions: int, first: Regression, second: Regression
) -> list[dict[int, list[int]]] | None:
    """PairSamples of each chunk to fit to, and to judge by: as many as the limits allow, spread evenly."""
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
    pair: Pair, first: Regression, second: Regression, pruned: Interpreter, part: dict[int, list[int]]
) -> PairSamples | None:
    names = [pair.first.x, pair.first.around.output, pair.second.x, pair.second.around.after_norm]
    found = []
    try:
        for chunk, index in part.items():
            x = pruned.values[pair.first.x][chunk][index]
            found.append((*pruned.peek(names, chunk, {pair.first.x: x}), *second.allowed(chunk, itemgetter(index))))
    except Unfit:
        return None
    if any(len({value.shape[1:] for value in values}) > 1 for values in zip(*found, strict=True)):
        return None
    x, z, h, y, low, high = (np.concatenate(values) for values in zip(*found, strict=True))
    rows = pair.first.inputs_at(x, None, len(first.matrix)).astype(np.float32, copy=False)
    if first.centred:
        rows = np.concatenate([rows, np.ones((*rows.shape[:2], 1), np.float32)], 2)
    return PairSamples(rows, z, h, y, low, high) if y.shape == low.shape else None


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
