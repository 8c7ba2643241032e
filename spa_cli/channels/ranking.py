"""Scores of a group's channels, and the order that they give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
# of the largest loss, what is below zero by rounding alone
_ROUNDED = 1e-9


@dataclass(frozen=True, eq=False)
class Ranking:
    """In which order a group's channels would go, and what each removal loses.

    ``order``: channel indices, least important first, (c,) or (b, c) where blocks choose for themselves. ``loss``
    (c,): of the k-th removal (over all blocks), comparable across groups, never decreasing.
    """

    order: NDArray[np.int64]
    loss: Scores

    @staticmethod
    def of(scores: Scores, additive: bool = False) -> Ranking:
        """Channels by ascending score.

        ``additive``: scores are worth something in themselves, and one of every block goes at a time.
        """
        by_block = np.sort(scores, axis=-1).reshape(-1, scores.shape[-1])
        return Ranking(np.argsort(scores, axis=-1, kind="stable"), by_block.sum(0) if additive else by_block.mean(0))

    @property
    def scores(self) -> Scores:
        """What the removal of each channel loses, in the order of the group: (c,) or (b, c)."""
        result = np.empty(self.order.shape)
        np.put_along_axis(result, self.order, np.broadcast_to(self.loss, self.order.shape), -1)
        return result


def losses(rankings: Sequence[Ranking]) -> list[Scores]:
    """What the removals of each group lose; where some are below zero, the places that they take among all, up to 1.

    Less than nothing lost would be worth having, and a budget no limit: such scores tell an order, and no more.
    """
    found = [each.loss for each in rankings]
    flat = np.concatenate([np.zeros(0), *found])
    if flat.min(initial=0) >= -_ROUNDED * np.abs(flat).max(initial=0):
        return found
    values, places = np.unique(flat, return_inverse=True)
    return np.split((places + 1) / len(values), np.cumsum([len(own) for own in found])[:-1])
