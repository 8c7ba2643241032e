"""Criteria that look at what the layers that read a channel see of it on calibration samples."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from spa_cli.channels.groups import Group
from spa_cli.channels.ranking import Ranking
from spa_cli.channels.state import CONSUMER
from spa_cli.graph.model import Array
from spa_cli.importance.evidence import Evidence, Scored
from spa_cli.importance.registry import DATA, criterion
from spa_cli.obspa.consumers import Reader


@criterion("obspa", DATA, aggregation="")
def obspa(evidence: Evidence, group: Group) -> Ranking:
    """What removal costs the layers that read it once they are refitted (OBSPA; Wang et al. 2024)."""
    found = evidence.curvature.rankings if evidence.directed else evidence.curvature.plain_rankings
    return found[evidence.grouping.groups.index(group)]


@criterion("wanda", DATA)
def wanda(evidence: Evidence, group: Group) -> list[Scored]:
    """Absolute weights times the norm of the input they multiply (Wanda; Sun et al. 2024)."""

    def of(reading: Reader) -> Array:
        return np.asarray(np.abs(reading.w).sum(0) * np.sqrt(_second(reading)))

    return _by_reader(evidence, group, of)


@criterion("act-norm", DATA)
def act_norm(evidence: Evidence, group: Group) -> list[Scored]:
    """Norm of its activations."""
    return _by_reader(evidence, group, _second, np.sqrt)


@criterion("act-var", DATA)
def act_var(evidence: Evidence, group: Group) -> list[Scored]:
    """Variance of its activations."""
    return _by_reader(evidence, group, _variance)


@criterion("flap", DATA)
def flap(evidence: Evidence, group: Group) -> list[Scored]:
    """Variance of its activations times the squared weights that read them (FLAP; An et al. 2024)."""

    def of(reading: Reader) -> Array:
        return np.asarray(_variance(reading) * np.square(reading.w).sum(0))

    return _by_reader(evidence, group, of)


def _variance(reading: Reader) -> Array:
    return np.asarray(np.maximum(np.diagonal(reading.h), 0))


def _second(reading: Reader) -> Array:
    return np.asarray(np.maximum(np.diagonal(reading.h) + np.square(reading.mean), 0))


def _by_reader(
    evidence: Evidence,
    group: Group,
    coordinate: Callable[[Reader], Array],
    finish: Callable[[Array], Array] = np.asarray,
) -> list[Scored]:
    """Per layer that reads the group, ``finish`` of the sum over each channel's coordinates (p,) -> (c,)."""
    curvature, index = evidence.curvature, evidence.grouping.groups.index(group)
    blocks = curvature.consumers[index]
    if not all(blocks):
        return [Scored("", "", curvature.energy_share(index))]
    # every block is read by the same layers, in the same order
    count = min(map(len, blocks))
    found = []
    for at in range(count):
        lines = [finish(coordinate(block[at])[block[at].places].sum(1)) for block in blocks]
        scores = np.stack(lines) if len(group.blocks) else lines[0]
        found.append(Scored(CONSUMER, blocks[0][at].node, scores))
    return found
