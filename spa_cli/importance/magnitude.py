"""Criteria that look at nothing but the weights."""

from __future__ import annotations

import numpy as np

from spa_cli.channels.groups import Group
from spa_cli.channels.ranking import Ranking
from spa_cli.channels.slices import shape_of, vectors
from spa_cli.channels.state import PASS_THROUGH
from spa_cli.graph.formulas import made_by_formula
from spa_cli.graph.model import Array
from spa_cli.importance.evidence import Evidence, Scored
from spa_cli.importance.registry import criterion

_NORMS = frozenset(
    {
        "BatchNormalization",
        "InstanceNormalization",
        "GroupNormalization",
        "GroupNorm",
        "LayerNormalization",
        "RMSNormalization",
        "SimplifiedLayerNormalization",
        "SkipLayerNormalization",
        "SkipSimplifiedLayerNormalization",
    }
)
_SCALE_AT = {"SkipLayerNormalization": 2, "SkipSimplifiedLayerNormalization": 2}


@criterion("l1")
def l1(evidence: Evidence, group: Group) -> list[Scored] | None:
    """Sum of the absolute weights (Li et al. 2017)."""
    return evidence.by_element(group, "l1", lambda name: np.abs(evidence.weight(name)))


@criterion("l2")
def l2(evidence: Evidence, group: Group) -> list[Scored] | None:
    """Euclidean norm of the weights."""
    return evidence.by_element(group, "l2", lambda name: np.square(evidence.weight(name)), np.sqrt)


@criterion("random", aggregation="")
def random(evidence: Evidence, group: Group) -> Ranking:
    """Uniform in [0, 1), drawn from the seed."""
    return Ranking.of(evidence.random.random(shape_of(group)))


@criterion("lamp")
def lamp(evidence: Evidence, group: Group) -> list[Scored] | None:
    """Every squared weight relative to the sum of those of its tensor that are no smaller (LAMP; Lee et al. 2021)."""
    return evidence.by_element(group, "lamp", lambda name: lamp_scores(evidence.weight(name)))


@criterion("fpgm")
def fpgm(evidence: Evidence, group: Group) -> list[Scored] | None:
    """Distance to the geometric median: the sum of distances to all other channels (FPGM; He et al. 2019)."""
    found = []
    for member in group.members:
        # a scale or a bias is one number, not a filter
        if member.role == PASS_THROUGH or made_by_formula(evidence.graph, member.tensor):
            continue
        lines = vectors(evidence.grouping, group, member, evidence.weight(member.tensor))
        distances = np.stack([_distances(block) for block in lines.reshape(-1, *lines.shape[-2:])])
        found.append(Scored(member.role, member.node, distances.reshape(shape_of(group))))
    return found or l2(evidence, group)


@criterion("bn", aggregation="mean")
def bn(evidence: Evidence, group: Group) -> list[Scored] | None:
    """Absolute scale of the normalisations it passes (network slimming; Liu et al. 2017); no scale, no cut."""
    scales = [m for m in group.members if m.role == PASS_THROUGH and _is_scale(evidence, m.tensor)]
    if not scales:
        return None
    only = Group(group.name, group.ids, group.blocks, tuple(scales), group.inexact)
    found = evidence.by_element(only, "l1", lambda name: np.abs(evidence.weight(name)))
    return found and [s._replace(role="") for s in found]


def _is_scale(evidence: Evidence, name: str) -> bool:
    users = evidence.graph.consumers.get(name, [])
    return any(n.op in _NORMS and n.input(_SCALE_AT.get(n.op, 1)) == name for n in users)


def lamp_scores(weights: Array) -> Array:
    """``w^2 / sum of v^2 over all |v| >= |w|`` for every element of a tensor."""
    square = np.square(weights)
    order = np.argsort(square, axis=None, kind="stable")
    ascending = square.ravel()[order]
    above = np.cumsum(ascending[::-1])[::-1]
    result = np.empty(square.size)
    result[order] = ascending / np.maximum(above, 1e-300)
    return result.reshape(square.shape)


def _distances(lines: Array) -> Array:
    """Sum of Euclidean distances of each line to all others, (c,)."""
    square = np.square(lines).sum(1)
    total = np.zeros(len(lines))
    # in stripes: the whole table of distances of a wide layer would not fit
    for start in range(0, len(lines), 1024):
        part = slice(start, start + 1024)
        between = square[part, None] + square[None, :] - 2 * lines[part] @ lines.T
        between[np.arange(len(between)), np.arange(start, start + len(between))] = 0
        total[part] = np.sqrt(np.maximum(between, 0)).sum(1)
    return total
