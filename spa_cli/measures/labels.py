"""Integers and names: classes, tokens, counts that the model itself decided on."""

from __future__ import annotations

from typing import Any

import numpy as np

from spa_cli.measures.agreement import KAPPA, Chance
from spa_cli.measures.interval import Estimate, Tally, share
from spa_cli.measures.judged import Found, by_sample, percent


class Labels:
    """How often they are the same."""

    def __init__(self) -> None:
        self._tally, self._chance = Tally(2), Chance()

    def add(self, before: list[Any], after: list[Any], samples: int) -> None:
        """One run of both."""
        a, b = (by_sample(v, samples) for v in (before[0], after[0]))
        if a.shape != b.shape or not a.size:
            return
        same = np.asarray(a == b, bool).reshape(len(a), -1)
        self._tally.add(same.sum(1), np.full(len(same), same.shape[1]))
        self._chance.add(a, b)

    @property
    def found(self) -> Found:
        """Of all runs so far."""
        same, every = self._tally.columns
        if not every.sum():
            return Found(None, "none of one shape", {}, False)
        agreement = share(same, every)
        kappa = self._chance.beyond(agreement.most)
        figures = {"agreement": agreement, "kappa": Estimate(self._chance.beyond(agreement.value))}
        return Found(agreement, f"the same on {percent(agreement)}", figures, kappa < KAPPA)
