"""Numbers that mean themselves: pictures, signals, coordinates, actions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from spa_cli.graph.model import Array
from spa_cli.measures.interval import Estimate, Floats, Tally, jackknife
from spa_cli.measures.judged import Found, apart, by_sample, figure

# as far as this a network that gives nothing, or the mean of everything, is not much worse
MOVED = 0.7
# a mean that is most of a number hides how far the rest of it moved; below this there is little to hide
_SLIGHT = 0.1
_SHOWN = 3


class Values:
    """The error, relative to what is there (L2), of every group of channels; ``groups``: their names, and where each
    ends along ``axis`` (counted from the end).
    """

    def __init__(self, axis: int = -1, groups: Sequence[tuple[str, int]] = ()) -> None:
        self._axis, self._groups = axis, list(groups)
        self._tallies: list[Tally] = []
        self._about: list[Floats] = []

    def add(self, before: list[Any], after: list[Any], samples: int) -> None:
        """One run of both."""
        a, b = (by_sample(np.asarray(v, np.float64), samples) for v in (before[0], after[0]))
        if a.shape != b.shape or not a.size:
            return
        if a.ndim == 1:
            a, b = a[..., None], b[..., None]
        a, b = (np.moveaxis(v, self._axis, -1) for v in (a, b))
        a, b = (v.reshape(len(v), -1, v.shape[-1]) for v in (a, b))
        moved, a = apart(a, b)
        ends = [end for _, end in self._groups] or [a.shape[-1]]
        for at, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
            if at == len(self._tallies):
                self._tallies.append(Tally(2))
                self._about.append(np.zeros((5, end - start)))
            part, off = a[..., start:end], moved[..., start:end]
            self._tallies[at].add(np.square(off).sum((1, 2)), np.square(part).sum((1, 2)))
            count = np.full(end - start, len(part) * part.shape[1])
            sums = [v.sum((0, 1)) for v in (part, np.square(part), off, np.square(off))]
            self._about[at] += [*sums, count]

    @property
    def found(self) -> Found:
        """Of all runs so far."""
        if not self._tallies:
            return Found(None, "none of one shape", {}, False)
        names = [name for name, _ in self._groups] or [""]
        found: list[tuple[str, Estimate, float]] = []
        for name, tally, about in zip(names, self._tallies, self._about, strict=True):
            error = relative(*tally.columns)
            found.append((name, error, _unexplained(about)))
        figures = {f"error {name}".strip(): error for name, error, _ in found}
        figures |= {f"unexplained {name}".strip(): Estimate(rest) for name, _, rest in found}
        worst = sorted(found, key=lambda one: -one[1].value)[:_SHOWN]
        text = "error " + ", ".join(f"{figure(error)}{f' of {name}' if name else ''}" for name, error, _ in worst)
        ruined = any(error.value > MOVED or (rest > MOVED**2 and error.value > _SLIGHT) for _, error, rest in found)
        return Found(None, text, figures, ruined)


def _unexplained(about: Floats) -> float:
    """How much of what a channel varies by around its mean is lost; a shift of all of it is another matter.

    ``about``: sums of the original and of the error, each followed by that of its squares, and how many, by channel.
    """
    total, squares, off, wrong, count = about
    if not np.isfinite(wrong).all():
        return float("inf")
    spread, lost = (
        float(np.clip(two - np.square(one) / count, 0, None).sum()) for one, two in ((total, squares), (off, wrong))
    )
    return lost / spread if spread > 0 else 0.0


def relative(distance: Array, norm: Array) -> Estimate:
    """|b - a| / |a| out of the squares of each sample."""
    if not norm.sum():
        # of nothing nothing may come
        value = 0.0 if not distance.sum() else float("inf")
        return Estimate(value)
    return jackknife([distance, norm], lambda d, n: np.sqrt(d / n), logarithmic=True)
