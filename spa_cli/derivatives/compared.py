"""Losses of a sample's numbers, their slopes and how these bend, in closed form.

``y`` is (n, ...), samples first, in double precision; a loss is the mean over what a sample holds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from spa_cli.graph.model import Array

# what probabilities are kept away from zero and one by
_TINY, _NEARLY = 1e-12, 1 - 1e-7


class Compared(NamedTuple):
    """``losses`` (n,), ``slopes`` in the shape of ``y``; ``bend``: how slopes move as ``y`` moves along a direction,
    both in that shape.
    """

    losses: Array
    slopes: Array
    bend: Callable[[Array], Array]


def norm(y: Array) -> Compared:
    """Half the mean square."""
    share = 1 / _each(y)
    return Compared(_mean(np.square(y)) / 2, y * share, lambda along: along * share)


def squares(y: Array, wanted: Array) -> Compared:
    """The mean squared error."""
    off, share = y - wanted, 2 / _each(y)
    return Compared(_mean(np.square(off)), off * share, lambda along: along * share)


def binary(y: Array, wanted: Array) -> Compared:
    """Cross entropy of yes or no, from scores before their sigmoid."""
    losses = np.maximum(y, 0) + np.log1p(np.exp(-np.abs(y))) - wanted * y
    p, share = sigmoid(y), 1 / _each(y)
    return Compared(_mean(losses), (p - wanted) * share, lambda along: p * (1 - p) * along * share)


def binary_probabilities(y: Array, wanted: Array) -> Compared:
    """Cross entropy of yes or no, from probabilities."""
    p = np.clip(y, _TINY, _NEARLY)
    share = (p == y) / _each(y)
    losses = -(wanted * np.log(p) + (1 - wanted) * np.log1p(-p))
    bent = wanted / np.square(p) + (1 - wanted) / np.square(1 - p)
    return Compared(_mean(losses), ((1 - wanted) / (1 - p) - wanted / p) * share, lambda along: bent * along * share)


def classes(y: Array, labels: Array, asked: Array) -> Compared:
    """Cross entropy of labels, from scores before their softmax: ``y`` (n, p, c), ``labels`` and ``asked`` (n, p)."""
    scores = log_softmax(y)
    share = asked / np.maximum(asked.sum(1, keepdims=True), 1)
    p = np.exp(scores)
    slopes = p.copy()
    np.put_along_axis(slopes, labels[..., None], _at(p, labels) - 1, -1)
    losses = -(_at(scores, labels)[..., 0] * share).sum(1)
    return Compared(losses, slopes * share[..., None], lambda along: _spread(p, along) * share[..., None])


def class_probabilities(y: Array, labels: Array, asked: Array) -> Compared:
    """Cross entropy of labels, from probabilities; shapes as for ``classes``."""
    share = asked / np.maximum(asked.sum(1, keepdims=True), 1)
    own = _at(y, labels)
    p, inside = np.maximum(own, _TINY), share[..., None] * (own >= _TINY)

    def only(values: Array) -> Array:
        found = np.zeros(y.shape)
        np.put_along_axis(found, labels[..., None], values * inside, -1)
        return found

    losses = -(np.log(p)[..., 0] * share).sum(1)
    return Compared(losses, only(-1 / p), lambda along: only(_at(along, labels) / np.square(p)))


def divergence(y: Array, wanted: Array) -> Compared:
    """Kullback-Leibler divergence of the softmax of scores from probabilities, both (n, ..., c)."""
    scores, share = log_softmax(y), y.shape[-1] / _each(y)
    p = np.exp(scores)
    losses = _mean(wanted * (np.log(np.maximum(wanted, _TINY)) - scores)) * y.shape[-1]
    return Compared(losses, (p - wanted) * share, lambda along: _spread(p, along) * share)


def log_softmax(y: Array) -> Array:
    """Logarithms of the softmax along the last axis."""
    off = y - y.max(-1, keepdims=True)
    return np.asarray(off - np.log(np.exp(off).sum(-1, keepdims=True)))


def sigmoid(y: Array) -> Array:
    """``1 / (1 + exp(-y))``, without overflow."""
    e = np.exp(-np.abs(y))
    return np.asarray(np.where(y >= 0, 1, e) / (1 + e))


def _spread(p: Array, along: Array) -> Array:
    """How probabilities move as their scores do."""
    return np.asarray(p * (along - (p * along).sum(-1, keepdims=True)))


def _at(values: Array, labels: Array) -> Array:
    return np.take_along_axis(values, labels[..., None], -1)


def _mean(values: Array) -> Array:
    return np.asarray(values.reshape(len(values), -1).mean(1))


def _each(y: Array) -> int:
    """How many numbers a sample holds."""
    return max(y.size // max(len(y), 1), 1)
