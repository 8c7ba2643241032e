"""Yes or no, element by element: masks, and classes that don't exclude each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from spa_cli.measures.agreement import KAPPA, Chance
from spa_cli.measures.interval import Estimate, Tally, share
from spa_cli.measures.judged import Found, by_sample, percent


class Masks:
    """Intersection over union of what both say yes to; ``at``: above this it is yes."""

    def __init__(self, at: float = 0.5) -> None:
        self._at = at
        self._tally, self._chance = Tally(4), Chance()

    def add(self, before: list[Any], after: list[Any], samples: int) -> None:
        """One run of both."""
        a, b = (by_sample(v, samples) for v in (before[0], after[0]))
        if a.shape != b.shape or not a.size:
            return
        a, b = ((v > self._at).reshape(len(v), -1) for v in (a, b))
        self._tally.add((a & b).sum(1), (a | b).sum(1), (a == b).sum(1), np.full(len(a), a.shape[1]))
        self._chance.add(a, b)

    @property
    def found(self) -> Found:
        """Of all runs so far."""
        both, either, alike, every = self._tally.columns
        same = share(alike, every)
        kappa = Estimate(self._chance.beyond(same.value))
        if not either.sum():
            return Found(None, f"nothing above {self._at:g} on these samples", {}, False)
        overlap = share(both, either)
        text = f"IoU {percent(overlap)} of what is above {self._at:g}"
        ruined = self._chance.beyond(same.most) < KAPPA
        return Found(overlap, text, {"iou": overlap, "agreement": same, "kappa": kappa}, ruined)
