"""Constants that are not trained weights: bases of transforms, filter banks, rotary tables, grids, masks."""

from __future__ import annotations

import math

import numpy as np

from spa_cli.graph.model import Array, Graph

# looked at per tensor: enough to tell, and little to read
_ROWS, _COLUMNS = 512, 4096
_SHORTEST = 8
_LARGEST = 1 << 21


def made_by_formula(graph: Graph, name: str) -> bool:
    """``is_table`` of a parameter, worked out once; very large ones are taken for weights without reading them."""
    if name not in graph.formulas:
        shape = graph.shape(name)
        small = sum(d > 1 for d in shape) >= 2 and math.prod(shape) <= _LARGEST
        graph.formulas[name] = small and is_table(graph.array(name))
    return graph.formulas[name]


def is_table(values: Array) -> bool:
    """Whether an array is what a formula makes, not what training makes.

    True for a mask or an identity (0 and one other value), a grid (equal steps), sines and cosines (windowed or not: a
    Fourier basis, rotary tables, sinusoidal positions), and a filter bank (non-negative bands). Short ones can't be
    told.
    """
    if values.dtype.kind != "f" and values.dtype.name != "bfloat16":
        return False
    lines = [n for n in values.shape if n > 1]
    if not values.size or len(lines) < 2 or max(lines) < _SHORTEST:
        return False
    flat = values.reshape(lines[0], -1)[:_ROWS, :_COLUMNS].astype(np.float64)
    if not np.isfinite(flat).all():
        return True
    return _two_values(flat) or any(_formula(side) for side in (flat, flat.T)) or _bands(flat) or _bands(flat.T)


def _two_values(flat: Array) -> bool:
    nonzero = flat[flat != 0]
    return bool(nonzero.size) and bool((nonzero == nonzero.flat[0]).all())


def _formula(flat: Array) -> bool:
    """Equal steps or a sinusoid along axis 0, in every column; also in halves (cosines above sines)."""
    count = len(flat)
    parts = [flat] if count < 4 * _SHORTEST or count % 2 else [flat, flat[: count // 2]]
    return any(len(p) >= _SHORTEST and _recurs(p) for p in parts)


def _recurs(part: Array) -> bool:
    """x[t+1] + x[t-1] = 2 cos(w) x[t] with a frequency w per column (0 for equal steps)."""
    middle, around = part[1:-1], part[2:] + part[:-2]
    energy = np.square(middle).sum(0)
    used = energy > 1e-12 * max(float(energy.max(initial=0.0)), 1e-300)
    if not used.any():
        return False
    slope = (middle * around).sum(0)[used] / energy[used]
    error = np.square(around[:, used] - slope * middle[:, used]).sum() / np.square(around).sum().clip(1e-300)
    straight = np.square(around - 2 * middle).sum() / np.square(around).sum().clip(1e-300)
    return bool(error < 1e-6 or straight < 1e-8)


def _bands(flat: Array) -> bool:
    """Non-negative, mostly zero, and in every row without a gap."""
    if (flat < 0).any() or (flat != 0).mean() > 0.5 or not flat.any():
        return False
    on = flat != 0
    starts = (on[:, 1:] & ~on[:, :-1]).sum(1) + on[:, 0]
    return len(flat) >= _SHORTEST and bool((starts <= 1).all())
