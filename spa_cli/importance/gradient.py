"""Criteria from derivatives of a loss; the network need not have been trained.

``g`` is the gradient by the weights ``w`` and ``H`` the Hessian, of the loss on the labels in --calib, or on labels
that the model draws itself where there are none.
"""

from __future__ import annotations

import numpy as np

from spa_cli.channels.groups import Group
from spa_cli.graph.model import Array
from spa_cli.importance.evidence import Evidence, Scored
from spa_cli.importance.registry import GRADIENTS, criterion


@criterion("snip", GRADIENTS, aggregation="sum")
def snip(evidence: Evidence, group: Group) -> list[Scored] | None:
    """|g w|: how much the loss feels a weight (SNIP; Lee et al. 2019)."""
    return evidence.by_element(group, "snip", lambda name: _absolute(_times(evidence, "gradient", name)))


@criterion("taylor", GRADIENTS, aggregation="sum")
def taylor(evidence: Evidence, group: Group) -> list[Scored] | None:
    """(sum of g w)^2: first-order change of the loss when the channel goes (Molchanov et al. 2019)."""
    return evidence.by_element(group, "taylor", lambda name: _times(evidence, "gradient", name), np.square)


@criterion("fisher", GRADIENTS, aggregation="sum")
def fisher(evidence: Evidence, group: Group) -> list[Scored] | None:
    """w^2 E[g^2] / 2: second-order change of the loss by the diagonal Fisher matrix (Theis et al. 2018)."""

    def elements(name: str) -> Array | None:
        found = evidence.derivative("fisher").get(name)
        return None if found is None else np.square(evidence.weight(name)) * found / 2

    return evidence.by_element(group, "fisher", elements)


@criterion("grasp", GRADIENTS, aggregation="sum")
def grasp(evidence: Evidence, group: Group) -> list[Scored] | None:
    """W (H g): how much the flow of gradients falls without a weight (GraSP; Wang, Zhang and Grosse 2020)."""
    return evidence.by_element(group, "grasp", lambda name: _times(evidence, "hessian_gradient", name))


@criterion("crop", GRADIENTS, aggregation="sum")
def crop(evidence: Evidence, group: Group) -> list[Scored] | None:
    """|w (H g)|: how much the flow of gradients changes without a weight (CroP; Rachwan et al. 2022)."""
    return evidence.by_element(group, "crop", lambda name: _absolute(_times(evidence, "hessian_gradient", name)))


def _times(evidence: Evidence, kind: str, name: str) -> Array | None:
    """A derivative times the weights, ``None`` if the loss does not depend on this parameter."""
    found = evidence.derivative(kind).get(name)
    return None if found is None else found * evidence.weight(name)


def _absolute(values: Array | None) -> Array | None:
    return None if values is None else np.abs(values)
