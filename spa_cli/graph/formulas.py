"""Constants that are not trained weights: bases of transforms, filter banks, rotary tables, grids, masks."""

from __future__ import annotations

import math

import numpy as np

from spa_cli.graph.model import Array, Graph

# looked at per tensor: enough to tell, and little to read
_ROWS, _COLUMNS = 512, 4096
_SHORTEST = 8
_LARGEST = 1 << 21
# of a map of coordinates: fewer steps could be three weights in a row
_STEPS, _CORNER = 4, 32


def made_by_formula(graph: Graph, name: str) -> bool:
    """``is_table`` of a parameter, worked out once; very large ones are taken for weights without reading them."""
    if name not in graph.formulas:
        shape = graph.shape(name)
        small = sum(d > 1 for d in shape) >= 2 and math.prod(shape) <= _LARGEST
        graph.formulas[name] = small and is_table(graph.array(name))
    return graph.formulas[name]


def is_progression(values: Array) -> bool:
    """Whether numbers in a row go up or down by equal steps or by equal factors: positions, rotary frequencies.

    No training does that. Rows of fewer than ``_STEPS`` can't be told.
    """
    # most weights are no row: none of those is copied
    if max(values.shape, default=0) != values.size or values.size < _STEPS:
        return False
    row = values.ravel().astype(np.float64)
    if not np.isfinite(row).all():
        return False
    steps = [np.diff(row)]
    if (row > 0).all():
        steps.append(np.diff(np.log(row)))
    return any(abs(s[0]) > 0 and bool(np.allclose(s, s[0], rtol=1e-3, atol=1e-7)) for s in steps)


def is_table(values: Array) -> bool:
    """Whether an array is what a formula makes, not what training makes.

    True for a mask or an identity (0 and one other value), a grid (equal steps), maps of coordinates or of a radius,
    sines and cosines (windowed or not: a Fourier basis, rotary tables, sinusoidal positions), and a filter bank
    (non-negative bands). Short ones can't be told.
    """
    if values.dtype.kind != "f" and values.dtype.name != "bfloat16":
        return False
    lines = [n for n in values.shape if n > 1]
    if not values.size or len(lines) < 2:
        return False
    if _coordinates(values.reshape(lines)):
        return True
    if max(lines) < _SHORTEST:
        return False
    flat = values.reshape(lines[0], -1)[:_ROWS, :_COLUMNS].astype(np.float64)
    if not np.isfinite(flat).all():
        return True
    return _two_values(flat) or any(_formula(side) for side in (flat, flat.T)) or _bands(flat) or _bands(flat.T)


def _coordinates(maps: Array) -> bool:
    """One map over all axes, or one per index of the first or the last: see ``_map``."""
    exact = 1e-5 if maps.dtype.itemsize >= 4 else 1e-2
    # the first tells most weights from a map: no copy of the others is made
    return any(
        stack.ndim in (3, 4) and min(stack.shape[1:]) >= _STEPS and all(_map(one, exact) for one in stack)
        for stack in (maps[None], maps, np.moveaxis(maps, -1, 0))
    )


def _map(values: Array, exact: float) -> bool:
    """Equal steps along every axis, or a distance: the root of a sum of squares of such steps."""
    corner = values[(slice(_CORNER),) * values.ndim].astype(np.float64)
    if not np.isfinite(corner).all() or np.ptp(corner) <= exact * np.abs(corner).max():
        return False
    axes = [a.ravel() for a in np.indices(corner.shape) / _CORNER]
    lines = np.stack([np.ones(corner.size), *axes], 1)
    squares = np.concatenate([lines, np.square(lines[:, 1:])], 1)
    return _fits(lines, corner.ravel(), exact) or _fits(squares, np.square(corner.ravel()), exact)


def _fits(basis: Array, wanted: Array, exact: float) -> bool:
    found = np.linalg.solve(basis.T @ basis, basis.T @ wanted)
    return bool(np.abs(basis @ found - wanted).max() <= exact * np.ptp(wanted))


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
