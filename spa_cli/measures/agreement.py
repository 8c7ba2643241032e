"""How often two networks say the same, and would by chance."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np

from spa_cli.graph.model import Array

# agreement that is less than halfway between chance and perfect is that of another network
KAPPA = 0.5


class Chance:
    """How often what two networks say would be the same if one knew nothing of the other (Cohen 1960)."""

    def __init__(self) -> None:
        self._counts: tuple[Counter[Any], Counter[Any]] = (Counter(), Counter())
        self._total = 0

    def add(self, a: Array, b: Array) -> None:
        """Classes of the same things."""
        self._total += a.size
        for counts, said in zip(self._counts, (a, b), strict=True):
            counts.update(dict(zip(*(v.tolist() for v in np.unique(said, return_counts=True)), strict=True)))

    def beyond(self, agreed: float) -> float:
        """1 if all agree, 0 if no more do than by chance (Cohen's kappa) at this share of agreement."""
        first, second = self._counts
        chance = sum(count * second[said] for said, count in first.items()) / max(self._total, 1) ** 2
        return min(1.0, (agreed - chance) / (1 - chance)) if chance < 1 else 1.0


class Agreement:
    """How often two sets of classes are the same, and would be by chance."""

    def __init__(self) -> None:
        self._same = self._total = 0
        self._chance = Chance()

    def add(self, a: Array, b: Array) -> None:
        """Classes of the same things."""
        self._same += int((a == b).sum())
        self._total += a.size
        self._chance.add(a, b)

    @property
    def share(self) -> float:
        """Of all, 0 to 1."""
        return self._same / self._total

    @property
    def kappa(self) -> float:
        """1 if all agree, 0 if no more do than by chance; at the upper end of a 95 % interval (Wilson 1927)."""
        n, p, z = self._total, self.share, 1.96
        most = (p + z**2 / (2 * n) + z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))) / (1 + z**2 / n)
        return self._chance.beyond(most)
