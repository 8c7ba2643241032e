"""Closed-form repair: the weights that remain, fitted to what the dense layer gave."""

from __future__ import annotations

import numpy as np

from spa_cli.graph.model import Array
from spa_cli.obspa.moments import Moments

# damping relative to the mean of diag H; the best on held-back samples wins
DAMPING = (1e-4, 1e-3, 1e-2, 1e-1)


def solve(moments: Moments, w0: Array, damping: float) -> Array:
    """``argmin_W |T - W X|^2 + lambda |W - W0|^2`` on centred statistics; (g, o, p).

    ``W = W0 + (C - W0 H)(H + lambda I)^-1``: shrinks towards the weights the layer has, not towards zero.
    """
    h, p = moments.h, w0.shape[-1]
    level = np.maximum(np.trace(h, axis1=1, axis2=2) / p, 1e-12) * damping
    regular = h + level[:, None, None] * np.eye(p)
    gain = np.linalg.solve(regular, np.swapaxes(moments.c - w0 @ h, 1, 2))
    return np.asarray(w0 + np.swapaxes(gain, 1, 2))


def intercept(moments: Moments, w: Array) -> Array:
    """``b = mean(t) - W mean(x)``; (g, o)."""
    return np.asarray(moments.mean_t - np.einsum("gop,gp->go", w, moments.mean_x))


def refit(fit: Moments, held_back: Moments, w0: Array, b0: Array) -> tuple[Array, Array, float] | None:
    """(W, b, damping) that does best on held-back samples; ``None`` where no fit beats ``w0``, ``b0``.

    Damping is chosen with one part of the samples fitted and the other judging; the result is fitted to all.
    """
    scale = np.maximum(held_back.error(np.zeros_like(w0), intercept(held_back, np.zeros_like(w0))), 1e-12)
    best, chosen = float((held_back.error(w0, b0) / scale).mean()), None
    for damping in DAMPING:
        w = solve(fit, w0, damping)
        loss = float((held_back.error(w, intercept(fit, w)) / scale).mean())
        if loss < best:
            best, chosen = loss, damping
    if chosen is None:
        return None
    everything = fit + held_back
    w = solve(everything, w0, chosen)
    return w, intercept(everything, w), chosen
