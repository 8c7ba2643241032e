"""Aggregation: from the scores of a coupled channel's members to one score (SPA, section 3.2).

``scores`` (m, ...) are those of the m members, ``weights`` (m,) say how much each counts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from spa_cli.channels.ranking import Scores
from spa_cli.graph.model import Array

Aggregation = Callable[[Scores, Array], Scores]


def _weighted(scores: Scores, weights: Array) -> Scores:
    return np.asarray(weights.reshape(-1, *[1] * (scores.ndim - 1)) * scores)


def _relative(scores: Scores) -> Scores:
    """Each member's scores relative to their mean; a member that is all zero says nothing."""
    means = np.abs(scores).reshape(len(scores), -1).mean(1).reshape(-1, *[1] * (scores.ndim - 1))
    return np.asarray(np.divide(scores, means, out=np.zeros_like(scores), where=means != 0))


def total(scores: Scores, weights: Array) -> Scores:
    """Sum over the members."""
    return np.asarray(_weighted(scores, weights).sum(0))


def mean(scores: Scores, weights: Array) -> Scores:
    """Mean over the members."""
    return np.asarray(_weighted(scores, weights).sum(0) / weights.sum())


def most(scores: Scores, weights: Array) -> Scores:
    """The largest of the members."""
    return np.asarray(_weighted(scores, weights).max(0))


def least(scores: Scores, weights: Array) -> Scores:
    """The smallest of the members."""
    return np.asarray(_weighted(scores, weights).min(0))


def product(scores: Scores, weights: Array) -> Scores:
    """Geometric mean of the members: the order of their product, on one scale however many there are."""
    logs = np.log(np.maximum(scores, 1e-300))
    return np.asarray(np.exp(_weighted(logs, weights).sum(0) / weights.sum()))


def first(scores: Scores, weights: Array) -> Scores:
    """The first member alone: the layer that makes the channel."""
    return np.asarray(scores[0])


def root_sum_square(scores: Scores, weights: Array) -> Scores:
    """Root of the sum of squares over the members."""
    return np.asarray(np.sqrt(_weighted(np.square(scores), weights).sum(0)))


def balanced(scores: Scores, weights: Array) -> Scores:
    """Mean over the members, each relative to its own mean over the group's channels."""
    return mean(_relative(scores), weights)


def dynamic(scores: Scores, weights: Array) -> Scores:
    """Balanced mean where the members agree on the order of the channels, the largest where they don't.

    The share of the mean is their agreement: the mean rank correlation (Spearman) over all pairs, at least 0. A
    channel that one member needs and the others don't must not be averaged away.
    """
    relative = _relative(scores)
    agree = agreement(scores)
    return np.asarray(agree * mean(relative, weights) + (1 - agree) * most(relative, weights / weights.mean()))


def agreement(scores: Scores) -> float:
    """Mean rank correlation of all pairs of members, at least 0; 1 for a single member."""
    flat = scores.reshape(len(scores), -1)
    if len(flat) == 1 or flat.shape[1] < 2:
        return 1.0
    ranks = np.argsort(np.argsort(flat, axis=1, kind="stable"), axis=1, kind="stable").astype(np.float64)
    table = np.atleast_2d(np.corrcoef(ranks))
    pairs = table[np.triu_indices(len(flat), 1)]
    return float(max(pairs.mean(), 0.0))


# those whose scores say how a channel compares with its group, not what it is worth
RELATIVE = frozenset({"balanced", "dynamic"})
# those that mean nothing for scores below zero
SIGNLESS = frozenset({"product", "rss"})
AGGREGATIONS: dict[str, Aggregation] = {
    "sum": total,
    "mean": mean,
    "max": most,
    "min": least,
    "product": product,
    "first": first,
    "rss": root_sum_square,
    "balanced": balanced,
    "dynamic": dynamic,
}
