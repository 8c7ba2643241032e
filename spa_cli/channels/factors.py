"""The mixed-radix structure of an axis: along which digits of the index does each column of ids vary?"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


def common_factors(a: NDArray[np.int64], b: NDArray[np.int64]) -> tuple[int, ...] | None:
    """Sizes of the coarsest factorisation of the axis in which every column of ``a`` and ``b`` is one run of digits.

    ``None`` if the columns' structures don't nest (then there is none).
    """
    n = len(a)
    cuts = {1, n}
    for column in (*a.T, *b.T):
        if column.any():
            cuts.update(digits(column))
    chain = sorted(cuts)
    if any(high % low for low, high in pairwise(chain)):
        return None
    return tuple(high // low for low, high in pairwise(chain))[::-1]


def digits(column: NDArray[np.int64]) -> tuple[int, int]:
    """``(r, p)``: the column is constant in runs of ``r`` and repeats every ``p`` (both divide its length)."""
    n = len(column)
    changes = np.flatnonzero(column != column[0])
    if not len(changes):
        return n, n
    divisors = [d for d in range(1, n + 1) if n % d == 0]
    run = max(d for d in divisors if d <= changes[0] and (column.reshape(-1, d) == column[::d, None]).all())
    period = min(p for p in divisors if p % run == 0 and (column.reshape(-1, p) == column[:p]).all())
    return run, period
