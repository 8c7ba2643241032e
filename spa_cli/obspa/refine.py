"""Refining the first layer of a pair for what the second gives.

A layer is first fitted to its own dense outputs, which leaves out what the channels that were cut did. Here its weights
move so that the second layer, as fitted, comes closer to *its* targets: one step, judged on held-back samples.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from spa_cli.graph.model import Array
from spa_cli.obspa.gauss_newton import DAMPING, Block, PairSamples, gauss_newton
from spa_cli.obspa.pairs import Pair
from spa_cli.obspa.refit import Fit
from spa_cli.obspa.region import Region
from spa_cli.obspa.regression import Regression, fitted
from spa_cli.obspa.unfit import Unfit
from spa_cli.obspa.wide import DOUBLE
from spa_cli.runtime.interpreter import Interpreter
from spa_cli.runtime.said import said
from spa_cli.threads import each

# positions of the first layer that are looked at, and the bytes that all that is known of them may take
_POSITIONS, _BYTES = 65_536, 500_000_000
# samples, where positions are many: what is learnt of fewer is about those
_FEWEST = 32
# fractions of the step that are tried on held-back samples
_STEPS = (1.0, 0.5, 0.25)
# of the error, what a step has to gain; of the output, an error that is none
_GAIN, _NOTHING = 1e-3, 1e-8
# what fewer samples at once may change
_ROUNDED = 1e-3


def refine(pair: Pair, first: Regression, second: Regression, pruned: Interpreter) -> Fit | None:
    """New weights of the first layer; ``None`` if none does better on held-back samples, or can't be told.

    Both layers have run with the weights they have.
    """
    if max(first.matrix.shape) > DOUBLE:
        return None
    counts = [next(iter(s), 0) for s in pruned.values[pair.first.x].shapes]
    parts = _parts(counts, pair.first.positions(pruned.values[pair.first.x].shape(0)), first, second)
    try:
        return None if parts is None else _refined(pair, first, second, pruned, parts)
    except Unfit:
        return None


def _refined(
    pair: Pair, first: Regression, second: Regression, pruned: Interpreter, parts: list[dict[int, list[int]]]
) -> Fit | None:
    behind = [pruned.node(n) for n in (*pair.between, *pair.lower)]
    made = {pair.first.around.output, *(o for proto in behind for o in proto.output)}
    # sizes that a cut has replaced are read, too
    read = dict.fromkeys(i for proto in behind for i in proto.input if i and i not in made)
    beside = [name for name in read if pruned.parameter(name) is None]
    some = partial(_some, pair, first, second, pruned, beside)
    fit, held = ([*each(lambda own: some(*own), part.items())] for part in parts)
    chunk, which = next(iter(parts[0].items()))
    (whole,) = pruned.peek([pair.second.around.after_norm], chunk)
    # tensors that hold positions as samples, beside those that don't
    if not np.allclose(whole[which], fit[0].y, rtol=_ROUNDED, atol=_ROUNDED * np.abs(fit[0].y).max()):
        raise Unfit("some samples alone give something else than among all")
    size = sum(float(np.square(own.y, dtype=np.float64).sum()) for own in held)
    start, end = pair.first.around.output, pair.second.around.after_norm
    block = Block(pair.first, Region(pruned, behind, start, end, fit[0].given, pruned.threads))
    before = block.error(held)
    if before <= _NOTHING * size:
        return None
    step = gauss_newton(block, fit, np.random.default_rng(0))
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
    """Samples of each chunk to fit to, and to judge by: as many as the limits allow, spread evenly."""
    groups, o, p = first.matrix.shape
    # rows and z; y and its bounds
    bytes_each = 4 * (groups * (p + 1 + o) + 3 * second.offset.size)
    affordable = min(_POSITIONS, _BYTES // bytes_each) // max(positions, 1)
    cuts = [fitted(count, chunk) for chunk, count in enumerate(counts)]
    fit = [(chunk, i) for chunk, cut in enumerate(cuts) for i in range(cut)]
    held = [(chunk, i) for chunk, cut in enumerate(cuts) for i in range(cut, counts[chunk])]
    share = min(1.0, max(affordable, _FEWEST) / max(len(fit), 1))
    if share * len(fit) * positions * bytes_each > _BYTES:
        return None
    parts = []
    for samples in (fit, held):
        if not int(share * len(samples)):
            return None
        part: dict[int, list[int]] = {}
        for at in np.linspace(0, len(samples) - 1, int(share * len(samples))).astype(int):
            part.setdefault(samples[at][0], []).append(samples[at][1])
        parts.append(part)
    return parts


def _some(
    pair: Pair,
    first: Regression,
    second: Regression,
    pruned: Interpreter,
    beside: list[str],
    chunk: int,
    which: list[int],
) -> PairSamples:
    """``beside``: what else comes in on the way. Raises Unfit where samples can't be told apart."""
    start = pair.first.around.output
    count = pruned.values[pair.first.x].shape(chunk)[0]
    names = [pair.first.x, pair.second.around.after_norm, start, *beside]
    try:
        found = pruned.peek(names, chunk, which, count)
    except Exception as error:
        # sizes that were worked out for all samples, or positions that stand for samples in some tensors only
        raise Unfit(said(error)) from error

    def own(value: Array) -> Array:
        if len(value) != count:
            raise Unfit("samples don't lie along its first axis")
        return np.asarray(value[which])

    x, y, z = (np.asarray(v) for v in found[:3])
    low, high = second.allowed(chunk, own)
    if {y.dtype, z.dtype} != {np.dtype(np.float32)} or len(z) != len(which) or y.shape != low.shape:
        raise Unfit("what both give can't be compared sample by sample")
    rows = pair.first.inputs_at(x, None, len(first.matrix)).astype(np.float32, copy=False)
    if first.centred:
        rows = np.concatenate([rows, np.ones((*rows.shape[:2], 1), np.float32)], 2)
    return PairSamples(rows, {start: z, **dict(zip(beside, found[3:], strict=True))}, y, low, high)
