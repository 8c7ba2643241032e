"""How far a covariance of few independent rows can be believed.

A sample covariance of ``n`` rows has rank ``n`` at most: with more inputs than that its inverse is made of damping
alone, and channels seem free that are not. Shrunk towards ``mu I`` it is a better estimate (Ledoit and Wolf 2004); how
far is known in closed form for Gaussian rows: oracle-approximating shrinkage (Chen, Wiesel, Eldar and Hero 2010,
equation 23).
"""

from __future__ import annotations

import numpy as np

from spa_cli.graph.model import Array

# rows that the positions of one sample count for at most: neighbours say much the same
POSITIONS = 4


def oracle_approximating(h: Array, rows: float) -> float:
    """The shrinkage ``rho`` (0 to 1) of a covariance ``h`` (p, p) of so many independent rows."""
    p = len(h)
    squares, trace = float(np.square(h).sum()), float(np.trace(h))
    above = (1 - 2 / p) * squares + trace**2
    below = (rows + 1 - 2 / p) * (squares - trace**2 / p)
    return min(1.0, above / below) if below > 0 else 1.0


def shrunk(h: Array, rows: float) -> Array:
    """``(1 - rho) H + rho mu I`` (p, p), ``mu`` the mean of the diagonal: the trace stays what it is."""
    rho = oracle_approximating(h, rows)
    found: Array = (1 - rho) * h
    found[np.diag_indices(len(h))] += rho * np.trace(h) / len(h)
    return found
