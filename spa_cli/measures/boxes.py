"""Boxes: where they are, how much two of them overlap, which of several are one."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from spa_cli.graph.model import Array
from spa_cli.measures.interval import Floats

# how four numbers say where a box is
CORNERS = "corners"
CENTRES = "centres and sizes"
# from the cell of a grid: centre from its corner, logarithm of the size, in cells
GRID = "offsets in the cells of grids"
# from a box that only the user's own program knows, at every position another
ANCHORS = "offsets from anchors"
_STRIDES = (4, 8, 16, 32, 64, 128)
# of boxes said by corners, how many at least have the second right of and below the first
_ORDERED = 0.95
# SSD divides offsets by these so that they spread by about 1; where they spread less they were not divided
_VARIANCES, _SPREAD = (0.1, 0.2), 0.35
# sizes that are this large are no logarithms
_NO_LOGARITHM = 4.0


def grid_of(positions: int, height: int, width: int) -> tuple[list[tuple[int, int, int]], int] | None:
    """((stride, rows, columns) of every level, boxes a cell) if positions are those of grids over a picture.

    One level or more, each of twice the stride of the one before.
    """
    for first, last in combinations(range(len(_STRIDES) + 1), 2):
        levels = [(s, -(-height // s), -(-width // s)) for s in _STRIDES[first:last]]
        cells = sum(rows * columns for _, rows, columns in levels)
        for each in (1, 2, 3):
            if cells * each == positions and (cells > 1):
                return levels, each
    return None


def from_grid(offsets: Floats, levels: list[tuple[int, int, int]]) -> Floats:
    """(..., positions, 4) offsets as corners in pixels, as YOLOX means them."""
    cells, strides = [], []
    for stride, rows, columns in levels:
        y, x = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
        cells.append(np.stack([x, y], -1).reshape(-1, 2))
        strides.append(np.full((rows * columns, 1), float(stride)))
    each = np.concatenate(strides)
    centre = (offsets[..., :2] + np.concatenate(cells)) * each
    return around(centre, np.exp(np.clip(offsets[..., 2:4], -20, 20)) * each)


def around(centre: Floats, size: Floats) -> Floats:
    """Corners of boxes."""
    return np.concatenate([centre - size / 2, centre + size / 2], -1)


def scale_of(offsets: Floats) -> tuple[float, float] | None:
    """What centres and logarithms of sizes are in units of, judged by offsets (n, 4) of the original.

    ``None``: sizes are no logarithms.
    """
    sizes = offsets[:, 2:]
    if (sizes > 0).mean() >= _ORDERED and np.median(sizes) > _NO_LOGARITHM:
        return None
    spread = float(np.sqrt(np.square(offsets[:, :2] - offsets[:, :2].mean(0)).mean()))
    return _VARIANCES if spread > _SPREAD else (1.0, 1.0)


def from_anchors(offsets: Floats, scale: tuple[float, float] | None) -> Floats:
    """Corners relative to whatever box stands at each position, in units of its size: only boxes of one position can be
    compared.
    """
    if scale is None:
        # in pixels
        return around(offsets[..., :2], offsets[..., 2:4])
    return around(offsets[..., :2] * scale[0], np.exp(np.clip(offsets[..., 2:4] * scale[1], -20, 20)))


def decoded_form(values: Floats) -> str:
    """Whether finished boxes (..., 4) are said by their corners or by centres and sizes."""
    flat = values.reshape(-1, 4)
    ordered = (flat[:, 2] > flat[:, 0]) & (flat[:, 3] > flat[:, 1])
    return CORNERS if ordered.mean() >= _ORDERED else CENTRES


def overlap(a: Array, b: Array) -> Floats:
    """Intersection over union of corners (n, 4) and (m, 4): (n, m)."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.prod(np.clip(high - low, 0, None), 2)
    area = [np.prod(np.clip(v[:, 2:] - v[:, :2], 0, None), 1) for v in (a, b)]
    whole = area[0][:, None] + area[1][None] - both
    return np.asarray(both / np.maximum(whole, 1e-12))


def suppressed(box: Array, label: Array, score: Array, most: float) -> NDArray[np.int64]:
    """Indices of boxes, the likeliest first, without those that overlap a likelier one of their class by more."""
    order = np.argsort(-score, kind="stable")
    alive = np.ones(len(order), bool)
    near = overlap(box[order], box[order]) > most
    same = label[order][:, None] == label[order][None]
    for at in range(len(order)):
        if alive[at]:
            alive[at + 1 :] &= ~(near & same)[at, at + 1 :]
    return np.asarray(order[alive])
