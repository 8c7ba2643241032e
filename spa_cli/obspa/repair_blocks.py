"""Refitting a layer whose weight is rounded to a few bits: only where what is rounded still does better."""

from __future__ import annotations

import numpy as np

from spa_cli.graph.model import Array
from spa_cli.obspa.blocks import Blocks
from spa_cli.obspa.layers import Layer
from spa_cli.obspa.moments import Moments
from spa_cli.obspa.observations import Observations, Split
from spa_cli.obspa.refit import Fit, Problem, refit
from spa_cli.obspa.regression import Regression
from spa_cli.obspa.writing import write
from spa_cli.runtime.interpreter import Interpreter

Rounded = tuple[dict[str, Array], Array]


def repair_blocks(
    layer: Layer, problem: Regression, rows: Split, independent: int, pruned: Interpreter
) -> tuple[Fit | None, str]:
    """Fit in full precision, round in blocks as before, and write that; what was fitted, and why not the weights.

    A fit to one part of the samples is rounded and judged by the other: what rounding costs may be more than what a fit
    saves, since the weights that are there are rounded already. An offset, which is not rounded, may move in any case.
    """
    w0, b0, centred = problem.matrix, problem.offset, problem.centred
    found = refit(rows, w0, b0, centred, False, independent)
    why = ""
    if found is not None and found.damping is not None:
        assert isinstance(layer.stored, Blocks)
        w, b = Problem(rows.fit, w0, b0, centred).solve(found.damping, 1)
        _, w = _rounded(layer, problem, rows.fit, w, pruned)
        loss = rows.held_back.judge()
        if loss(w, rows.fit.shifted(w, b) if centred else b) < loss(w0, b0):
            arrays, w = _rounded(layer, problem, rows.rows, found.w, pruned)
            b = rows.rows.shifted(w, found.b) if centred else found.b
            for name, value in arrays.items():
                pruned.write(name, value)
            write(layer, problem, Fit(w, b, None), pruned, w)
            return Fit(w, b, found.damping), ""
        why = f"rounded to {layer.stored.bits} bits no fit did better on held-back samples"
        found = refit(rows, w0, b0, centred, True, independent) if centred else None
    if found is not None:
        write(layer, problem, found, pruned, w0)
    return found, why


def _rounded(layer: Layer, problem: Regression, rows: Observations, w: Array, pruned: Interpreter) -> Rounded:
    """The parameters of a weight (1, o, p), and the weight that they stand for."""
    stored = layer.stored
    assert isinstance(stored, Blocks)
    moments = Moments(problem.centred)
    moments.add(rows.x)
    arrays = stored.written(layer.restore(w, w.shape[1:]), pruned.parameter, moments.h[0])

    def read(name: str) -> Array | None:
        return arrays[name] if name in arrays else pruned.parameter(name)

    value = stored.value(read, lambda _: ())
    assert value is not None
    return arrays, layer.matrix(np.asarray(value), 1)
