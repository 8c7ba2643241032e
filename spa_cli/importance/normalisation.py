"""Normalisation: what makes the scores of different groups comparable (SPA, section 3.2).

All keep the order inside a group, so they decide only how much each group gives.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from spa_cli.channels.ranking import Scores

# of all groups' scores, and the stage that each group is in
Normalisation = Callable[[list[Scores], list[Hashable]], list[Scores]]
_TINY = 1e-30


def _each(one: Callable[[Scores], Scores]) -> Normalisation:
    def all_groups(scores: list[Scores], stages: list[Hashable]) -> list[Scores]:
        return [one(s) for s in scores]

    all_groups.__doc__ = one.__doc__
    return all_groups


def none(scores: Scores) -> Scores:
    """Scores as they are."""
    return scores


def by_sum(scores: Scores) -> Scores:
    """Share of the group's sum."""
    return np.asarray(scores / max(float(np.abs(scores).sum()), _TINY))


def by_mean(scores: Scores) -> Scores:
    """Relative to the group's mean."""
    return np.asarray(scores / max(float(np.abs(scores).mean()), _TINY))


def by_max(scores: Scores) -> Scores:
    """Relative to the group's largest."""
    return np.asarray(scores / max(float(np.abs(scores).max()), _TINY))


def standard(scores: Scores) -> Scores:
    """Standard score: deviations from the group's mean."""
    return _deviations(scores, float(scores.std()))


def gaussian(scores: Scores) -> Scores:
    """The normal quantile of the rank in the group: every group gives alike."""
    normal = NormalDist()
    quantiles = np.array([normal.inv_cdf((i + 0.5) / scores.size) for i in range(scores.size)])
    result: Scores = quantiles[_ranks(scores)]
    return result


def lamp(scores: Scores) -> Scores:
    """Relative to the sum of all scores of the group that are no smaller (LAMP; Lee et al. 2021)."""
    flat = scores - min(float(scores.min()), 0.0)
    ascending = np.sort(flat, axis=None)
    above = np.cumsum(ascending[::-1])[::-1]
    return np.asarray((ascending / np.maximum(above, _TINY))[_ranks(scores)])


def adaptive(scores: Scores) -> Scores:
    """Relative to the mean where the group's scores differ much, by rank where they hardly do.

    The share of the first is v / (v + v0) for the coefficient of variation v of the scores; v0 = 1 / sqrt(3) is that
    of the ranks. Scores that are nearly equal would go all at once or not at all.
    """
    relative = by_mean(scores)
    spread = float(relative.std())
    share = spread / (spread + 1 / np.sqrt(3))
    return np.asarray(share * relative + (1 - share) * 2 * (_ranks(scores) + 0.5) / scores.size)


def hierarchical(scores: list[Scores], stages: list[Hashable]) -> list[Scores]:
    """Relative to the group's mean, then to the deviations in the group's stage (same resolution).

    With the aggregation ``balanced`` the members of a channel are made comparable first.
    """
    relative = [by_mean(s) for s in scores]
    spread = {
        stage: float(np.std(np.concatenate([r.ravel() for r, s in zip(relative, stages, strict=True) if s == stage])))
        for stage in set(stages)
    }
    return [_deviations(r, spread[s]) for r, s in zip(relative, stages, strict=True)]


def _deviations(scores: Scores, spread: float) -> Scores:
    """From the mean, in units of ``spread``; scores that are all equal deviate by nothing."""
    centred = scores - scores.mean()
    equal = spread <= 1e-9 * max(float(np.abs(scores).max()), _TINY)
    return np.asarray(centred * 0 if equal else centred / spread)


def _ranks(scores: Scores) -> NDArray[np.int64]:
    """Position of every score in ascending order."""
    ranks = np.argsort(np.argsort(scores, axis=None, kind="stable"), kind="stable")
    return np.asarray(ranks).reshape(scores.shape)


NORMALISATIONS: dict[str, Normalisation] = {
    "none": _each(none),
    "sum": _each(by_sum),
    "mean": _each(by_mean),
    "max": _each(by_max),
    "standard": _each(standard),
    "gaussian": _each(gaussian),
    "lamp": _each(lamp),
    "adaptive": _each(adaptive),
    "hierarchical": hierarchical,
}
