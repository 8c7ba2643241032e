"""Cholesky factors of large matrices, block by block: no more than one copy is made of what takes a gigabyte.

Numbers stay in the precision of the matrix; blocks on the diagonal are factored, and inverted, in double precision.
What is large is spread over cores in parts that do not depend on how many there are: so neither do the bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np

from spa_cli.graph.model import Array
from spa_cli.threads import each

_BLOCK = 256
# rows that are worked on at once
_ROWS = 1024
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
        _factor_columns(a, start, min(start + block, len(a)))
    return a


def _factor_columns(a: Array, start: int, end: int) -> None:
    """Those of the factor, from what is left of the matrix; all before them are done."""
    before = a[start:end, :start].T

    def take(rows: slice) -> None:
        a[rows, start:end] -= a[rows, :start] @ before

    in_parts(take, start, len(a))
    own = np.linalg.cholesky(a[start:end, start:end].astype(np.float64))
    a[start:end, start:end] = own
    a[:start, start:end] = 0
    if end == len(a):
        return
    divisor = np.linalg.inv(own).T.astype(a.dtype)

    def divide(rows: slice) -> None:
        a[rows, start:end] = a[rows, start:end] @ divisor

    in_parts(divide, end, len(a))


def inverted(lower: Array, block: int = _BLOCK) -> Array:
    """``L^-1`` of a lower triangular matrix, in the memory of ``lower``."""
    for start in range(0, len(lower), block):
        _invert_rows(lower, start, min(start + block, len(lower)))
    return lower


def _invert_rows(lower: Array, start: int, end: int) -> None:
    own = _inverse(lower, start, end)
    beside = own @ lower[start:end, :start]

    def fill(columns: slice) -> None:
        # what was inverted before is a triangle: above these columns there is nothing
        first = columns.start
        lower[start:end, columns] = -beside[:, first:] @ lower[first:start, columns]

    in_parts(fill, 0, start)
    lower[start:end, start:end] = own


def forward(lower: Array, left: Array, block: int = _BLOCK) -> Array:
    """``B L^-T`` for ``B`` (n, p), in the precision of ``B``."""
    x = np.array(left, order="C")
    inverses = _inverses(lower, block)

    def solve(rows: slice) -> None:
        _forward(lower, inverses, x[rows])

    in_parts(solve, 0, len(x))
    return x


def solved(lower: Array, left: Array, block: int = _BLOCK) -> Array:
    """``B (L L^T)^-1`` for ``B`` (n, p), in the precision of ``B``."""
    x = np.array(left, order="C")
    inverses = _inverses(lower, block)

    def solve(rows: slice) -> None:
        own = x[rows]
        _forward(lower, inverses, own)
        end = len(lower)
        for inverse in reversed(inverses):
            start = end - len(inverse)
            own[:, start:end] = (own[:, start:end] - own[:, end:] @ lower[end:, start:end]) @ inverse
            end = start

    in_parts(solve, 0, len(x))
    return x


def product(a: Array, b: Array) -> Array:
    """``A B``, of one or of several, (..., o, p) and (..., p, n)."""
    found = np.empty((*a.shape[:-1], b.shape[-1]), np.result_type(a, b))

    def multiply(rows: slice) -> None:
        np.matmul(a[..., rows, :], b, out=found[..., rows, :])

    in_parts(multiply, 0, a.shape[-2])
    return found


def in_parts(work: Callable[[slice], None], start: int, end: int) -> None:
    """Do it for every so many rows or columns, which don't depend on each other, on all cores."""
    deque(each(work, (slice(at, min(at + _ROWS, end)) for at in range(start, end, _ROWS))), maxlen=0)


def _forward(lower: Array, inverses: list[Array], x: Array) -> None:
    end = 0
    for inverse in inverses:
        start, end = end, end + len(inverse)
        x[:, start:end] = (x[:, start:end] - x[:, :start] @ lower[start:end, :start].T) @ inverse.T


def _inverses(lower: Array, block: int) -> list[Array]:
    return [_inverse(lower, at, min(at + block, len(lower))) for at in range(0, len(lower), block)]


def _inverse(lower: Array, start: int, end: int) -> Array:
    """Of a block on the diagonal."""
    return np.asarray(np.linalg.inv(lower[start:end, start:end].astype(np.float64)).astype(lower.dtype))
