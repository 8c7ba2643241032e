"""Cholesky factors of large matrices, block by block: no more than one copy is made of what takes a gigabyte.

Numbers stay in the precision of the matrix; blocks on the diagonal are factored in double precision.
"""

from __future__ import annotations

import numpy as np

from spa_cli.graph.model import Array

_BLOCK = 1024
# what is added to the diagonal, relative to its mean, where rounding left a matrix that is not positive
_JITTER = (0.0, 1e-5, 1e-4, 1e-3, 1e-2)


def factored(h: Array, block: int = _BLOCK) -> Array:
    """``L`` (p, p), lower triangular, with ``L L^T = H``; raises LinAlgError where no jitter makes ``H`` positive.

    Only the lower triangle of ``h`` is read. It is worked on in a copy; ``h`` itself is given up for the last jitter.
    """
    level = float(np.diagonal(h).mean(dtype=np.float64))
    for jitter in _JITTER[:-1]:
        try:
            return _factor(_lifted(h.copy(), jitter * level), block)
        except np.linalg.LinAlgError:
            continue
    return _factor(_lifted(h, _JITTER[-1] * level), block)


def _lifted(h: Array, more: float) -> Array:
    h[np.diag_indices(len(h))] += np.asarray(more, h.dtype)
    return h


def _factor(a: Array, block: int) -> Array:
    for start in range(0, len(a), block):
        end = min(start + block, len(a))
        # the columns as what was taken before leaves them
        a[start:, start:end] -= a[start:, :start] @ a[start:end, :start].T
        own = np.linalg.cholesky(a[start:end, start:end].astype(np.float64))
        a[start:end, start:end] = own
        a[:start, start:end] = 0
        if end < len(a):
            a[end:, start:end] = a[end:, start:end] @ np.linalg.inv(own).T.astype(a.dtype)
    return a


def inverted(lower: Array, block: int = _BLOCK) -> Array:
    """``L^-1`` of a lower triangular matrix, in the memory of ``lower``."""
    for start in range(0, len(lower), block):
        end = min(start + block, len(lower))
        own = np.linalg.inv(lower[start:end, start:end].astype(np.float64)).astype(lower.dtype)
        lower[start:end, :start] = -own @ (lower[start:end, :start] @ lower[:start, :start])
        lower[start:end, start:end] = own
    return lower


def forward(lower: Array, right: Array, block: int = _BLOCK) -> Array:
    """``L^-1 B`` for ``B`` (p, n), in the precision of ``B``."""
    x = np.array(right)
    for start in range(0, len(lower), block):
        end = min(start + block, len(lower))
        x[start:end] -= lower[start:end, :start] @ x[:start]
        x[start:end] = np.linalg.solve(lower[start:end, start:end], x[start:end])
    return x


def solved(lower: Array, right: Array, block: int = _BLOCK) -> Array:
    """``(L L^T)^-1 B`` for ``B`` (p, n), in the precision of ``B``."""
    x = forward(lower, right, block)
    for start in reversed(range(0, len(lower), block)):
        end = min(start + block, len(lower))
        x[start:end] -= lower[end:, start:end].T @ x[end:]
        x[start:end] = np.linalg.solve(lower[start:end, start:end].T, x[start:end])
    return x
