"""Importance = criterion x aggregation x normalisation: one ranking per group, comparable across groups."""

from __future__ import annotations

import math
from collections.abc import Hashable

import numpy as np

from spa_cli.channels.groups import Group
from spa_cli.channels.ranking import Ranking, Scores
from spa_cli.channels.slices import shape_of
from spa_cli.channels.state import PRODUCER
from spa_cli.errors import OptionError
from spa_cli.graph.finite import not_finite
from spa_cli.graph.model import Array
from spa_cli.importance.aggregation import AGGREGATIONS, RELATIVE, SIGNLESS
from spa_cli.importance.evidence import Evidence, Scored
from spa_cli.importance.normalisation import NORMALISATIONS
from spa_cli.importance.recipe import Ingredient, Recipe

UNSCORED = "none of its weights has a score by --method {name}"
OVERFLOWS = "its scores by --method {name} are too large to be compared, or no numbers"


def rank_groups(evidence: Evidence, recipe: Recipe) -> tuple[list[Ranking], dict[int, str]]:
    """Every group's channels in the order in which they would go; and the groups that can't be scored, with the reason.

    Those have a ranking too, which says nothing.
    """
    unscored = no_numbers(evidence)
    # what is too large becomes infinite: it is looked at afterwards
    with np.errstate(over="ignore", invalid="ignore"):
        found = [_by_criterion(evidence, recipe, part, unscored) for part in recipe.parts]
    if len(found) == 1:
        return found[0], unscored
    combined = _combine(found, [p.weight for p in recipe.parts], recipe.ensemble)
    return [Ranking.of(s) for s in combined], unscored


def no_numbers(evidence: Evidence) -> dict[int, str]:
    """The groups of which a weight holds NaN or infinity, and a sentence about it."""
    graph, checked, found = evidence.graph, dict[str, str](), dict[int, str]()
    for index, group in enumerate(evidence.grouping.groups):
        for name in dict.fromkeys(m.tensor for m in group.members):
            if name not in checked:
                checked[name] = not_finite(graph.array(name))
            if checked[name]:
                found.setdefault(index, f"its weight '{name}' holds {checked[name]}, which nothing compares with")
    return found


def _by_criterion(evidence: Evidence, recipe: Recipe, part: Ingredient, unscored: dict[int, str]) -> list[Ranking]:
    groups = evidence.grouping.groups
    scores: list[Scores] = []
    additive = (recipe.aggregation or part.criterion.aggregation) not in RELATIVE
    orders: list[Array | None] = []
    for index, group in enumerate(groups):
        members = None if index in unscored else part.criterion.members(evidence, group, part.argument)
        if members is None:
            if index not in unscored:
                why = evidence.why_unscored(group)
                unscored[index] = UNSCORED.format(name=part.criterion.name) + (f": {why}" if why else "")
            own = np.zeros(shape_of(group))
        elif isinstance(members, Ranking):
            own = members.loss
        else:
            own = _aggregate(recipe, members, recipe.aggregation or part.criterion.aggregation)
        if not np.isfinite(own).all():
            unscored[index] = OVERFLOWS.format(name=part.criterion.name)
            own = np.zeros(own.shape)
        scores.append(own)
        orders.append(members.order if isinstance(members, Ranking) else None)
    by = recipe.normalisation or part.criterion.normalisation
    normal = NORMALISATIONS[by](scores, [_stage(evidence, g) for g in groups])
    additive = by == "sum" or (by == "none" and additive)
    found = []
    for group, given, order in zip(groups, normal, orders, strict=True):
        if order is not None:
            # its layers already count as much as they should
            found.append(Ranking(order, given))
        else:
            found.append(Ranking.of(_emphasised(evidence, group, given), additive))
    return found


def _emphasised(evidence: Evidence, group: Group, scores: Scores) -> Scores:
    """Scores of a group that leads to the focused output, ``FOCUS`` times as high."""
    times = max((evidence.emphasis.get(m.node, 1.0) for m in group.members), default=1.0)
    return np.asarray(np.where(scores < 0, scores / times, scores * times))


def _aggregate(recipe: Recipe, members: list[Scored], name: str) -> Scores:
    # the layer that makes the channels comes first, whatever the order of the file
    members = sorted(members, key=lambda m: m.role != PRODUCER)
    weights = np.array([recipe.roles.get(m.role, 1.0) for m in members])
    if not weights.any():
        weights = np.ones(len(members))
    used = np.flatnonzero(weights)
    if name in SIGNLESS and any((members[i].scores < 0).any() for i in used):
        raise OptionError(f"--aggregation {name} needs scores that are not negative, and some are; use sum or dynamic")
    return AGGREGATIONS[name](np.stack([members[i].scores for i in used]), weights[used])


def _stage(evidence: Evidence, group: Group) -> Hashable:
    """Groups whose channels are spread over equally many positions are in one stage."""
    index = evidence.grouping.groups.index(group)
    for name, axis in evidence.grouping.occurrences[index]:
        shape = evidence.analysis.state.shapes.shape.get(name)
        if name not in evidence.graph.parameters and shape and all(shape):
            return math.prod(int(d or 1) for i, d in enumerate(shape) if i not in (0, axis))
    return 0


def _combine(found: list[list[Ranking]], weights: list[float], how: str) -> list[Scores]:
    """Weighted mean of the criteria's scores, each relative to its mean over the model, or of the global ranks."""
    total: list[Scores] = [np.zeros(r.order.shape) for r in found[0]]
    for rankings, weight in zip(found, weights, strict=True):
        scores = [r.scores for r in rankings]
        flat = np.concatenate([s.ravel() for s in scores])
        if how == "rank":
            order = np.argsort(np.argsort(flat, kind="stable"), kind="stable")
            values = (order + 0.5) / len(flat)
        else:
            values = flat / max(float(np.abs(flat).mean()), 1e-30)
        parts = np.split(values, np.cumsum([s.size for s in scores])[:-1])
        for into, part in zip(total, parts, strict=True):
            into += weight / sum(weights) * part.reshape(into.shape)
    return total
