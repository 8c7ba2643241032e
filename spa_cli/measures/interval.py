"""Estimates from samples, each with a 95 % interval. A sample is one unit, however many numbers an output has of it.

Shares: Wilson's interval (1927), which keeps its promise near 0 and 1 (Brown, Cai and DasGupta 2001), at the effective
number of things counted: those of one sample are alike (Korn and Graubard 1998). All else: the jackknife over samples
(Miller 1974), on a logarithmic scale where a figure can't be negative. Both with Student's quantile.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# of Student's distribution with few degrees of freedom, where the series below is off
_FIRST = {1: 12.706, 2: 4.303, 3: 3.182}
_NORMAL = NormalDist().inv_cdf(0.975)
# how many times the lower end the upper one may be: beyond it both together say nothing
_VAGUE = 1000


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval; NaN where it can't be measured, or samples are too few for an interval."""

    value: float
    low: float = math.nan
    high: float = math.nan

    @property
    def least(self) -> float:
        """The lower end, or the figure itself without an interval."""
        return self.value if math.isnan(self.low) else self.low

    @property
    def most(self) -> float:
        """The upper end, or the figure itself without an interval."""
        return self.value if math.isnan(self.high) else self.high


def ends(low: float, high: float, show: Callable[[float], str]) -> str:
    """An interval, in brackets."""
    return " [uncertain]" if high > _VAGUE * low > 0 else f" [{show(low)}, {show(high)}]"


def student(freedom: int) -> float:
    """The 97.5 % quantile of Student's distribution (Abramowitz and Stegun 26.7.5)."""
    z, v = _NORMAL, freedom
    if v in _FIRST:
        return _FIRST[v]
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    return z + first / v + second / v**2 + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384 / v**3


def jackknife(parts: Sequence[Floats], statistic: Callable[..., Floats], logarithmic: bool = False) -> Estimate:
    """``statistic`` of the sums over samples of each of ``parts`` (n,), which it takes elementwise; one a part.

    ``logarithmic``: it is never negative, and its logarithm is nearer to normal.
    """
    with np.errstate(all="ignore"):
        value = float(statistic(*(p.sum() for p in parts)))
        n = len(parts[0])
        if n < 2 or not math.isfinite(value):
            return Estimate(value)
        if logarithmic and value <= 0:
            return Estimate(value, value, value)
        without = statistic(*(p.sum() - p for p in parts))
        without = np.log(without) if logarithmic else without
        half = student(n - 1) * math.sqrt((n - 1) / n * float(np.square(without - without.mean()).sum()))
    if not math.isfinite(half):
        return Estimate(value)
    if logarithmic:
        # beyond any number there is
        spread = math.exp(min(half, 700.0))
        return Estimate(value, value / spread, value * spread)
    return Estimate(value, value - half, value + half)


def share(hits: Floats, of: Floats) -> Estimate:
    """Of all that is counted, ``of`` (n,) in each sample, the part that is a hit."""
    total, n = float(of.sum()), len(of)
    if not total:
        return Estimate(math.nan)
    p = float(hits.sum()) / total
    if n < 2:
        return Estimate(p)
    errors = hits - p * of
    variance = n / (n - 1) * float(np.square(errors).sum()) / total**2
    if p in (0.0, 1.0):
        # nothing tells how alike those of one sample are
        effective = float((of > 0).sum())
    else:
        effective = min(total, max(p * (1 - p) / variance, 1.0)) if variance > 0 else total
    t = student(n - 1)
    centre, width = p + t**2 / (2 * effective), t * math.sqrt(p * (1 - p) / effective + t**2 / (4 * effective**2))
    scale = 1 + t**2 / effective
    # beyond rounding
    return Estimate(p, min(p, max(0.0, (centre - width) / scale)), max(p, min(1.0, (centre + width) / scale)))


class Tally:
    """Sums over a sample's numbers, kept sample by sample: so many columns."""

    def __init__(self, columns: int) -> None:
        self._rows: list[Floats] = []
        self._columns = columns

    def add(self, *values: Floats | Sequence[float]) -> None:
        """Of some more samples: (n,) each."""
        self._rows.append(np.stack([np.asarray(v, np.float64) for v in values], 1))

    @property
    def columns(self) -> list[Floats]:
        """(samples,) each."""
        every = np.concatenate(self._rows) if self._rows else np.zeros((0, self._columns))
        return list(every.T)
