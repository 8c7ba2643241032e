"""What a model's outputs are compared with: labels given, or labels drawn from the outputs themselves."""

from __future__ import annotations

import math
import re

import numpy as np

from spa_cli.derivatives.compared import log_softmax
from spa_cli.derivatives.terms import LossTarget, Term, by_sample, layout_of
from spa_cli.errors import UsageError
from spa_cli.graph.model import Array

# what an output with positions is called where it scores classes, and one without where it doesn't
_SCORES = re.compile(r"logit|prob|score|softmax|class|cls", re.IGNORECASE)
_VALUES = re.compile(r"embed|hidden|state|feature|pool|action|value|box|coord|mean|std|latent", re.IGNORECASE)


def labelled(outputs: dict[str, Array], labels: Array, samples: int) -> LossTarget:
    """The first output that ``labels`` fit, with them; raises UsageError if none does."""
    for name, output in outputs.items():
        layout = layout_of(output, samples)
        y = by_sample(output, layout, samples)
        found = _fit(name, layout, y, labels) if len(labels) == samples else None
        if found is not None:
            return found
    shapes = ", ".join(f"'{n}' {list(y.shape)}" for n, y in outputs.items())
    raise UsageError(
        f"labels of shape {list(labels.shape)} fit no output ({shapes}); give class indices (n,) or one per position, "
        "or values in the shape of the output"
    )


def _fit(name: str, layout: str, y: Array, labels: Array) -> LossTarget | None:
    inner, wanted = _without_ones(y.shape[1:]), _without_ones(labels.shape[1:])
    whole = labels.dtype.kind in "iub" or bool(np.all(labels == np.round(labels)))
    if whole:
        axis = _class_axis(y, wanted)
        if axis is not None:
            return _classes(name, layout, y, axis, labels.astype(np.int64))
    if inner != wanted:
        return None
    given = labels.astype(np.float64)
    if labels.dtype.kind in "iub" and labels.min() >= 0 and labels.max() <= 1:
        one_hot = y.ndim == 2 and y.shape[1] > 1 and bool((labels.reshape(len(labels), -1).sum(1) == 1).all())
        if one_hot:
            return _classes(name, layout, y, 1, given.reshape(y.shape).argmax(1))
        return LossTarget(Term(name, "binary", layout, probabilities=_within_one(y)), given)
    return LossTarget(Term(name, "values", layout), given)


def _class_axis(y: Array, wanted: list[int]) -> int | None:
    """The axis without which the output has the shape of the labels: the last of three, the second of more or less."""
    axes = [y.ndim - 1, *range(1, y.ndim - 1)] if y.ndim == 3 else list(range(1, y.ndim))
    for axis in axes:
        if y.shape[axis] > 1 and _without_ones([n for i, n in enumerate(y.shape) if i not in (0, axis)]) == wanted:
            return axis
    return None


def _classes(name: str, layout: str, y: Array, axis: int, labels: Array) -> LossTarget:
    if int(labels.max()) >= y.shape[axis]:
        raise UsageError(
            f"the labels go up to {int(labels.max())}, output '{name}' has {y.shape[axis]} classes; "
            "number classes from 0, or name another output"
        )
    return LossTarget(Term(name, "classes", layout, axis, _sums_to_one(y, axis)), labels)


def drawn(outputs: dict[str, Array], samples: int, seed: int) -> list[LossTarget]:
    """For each output labels drawn from the probabilities it stands for, or nothing where it scores no classes."""
    rng = np.random.default_rng(seed)
    targets = []
    for name, output in outputs.items():
        layout = layout_of(output, samples)
        y = by_sample(output, layout, samples)
        term = _reading(name, layout, y)
        values = None
        if term.kind == "classes":
            y = np.moveaxis(y, term.axis, -1)
            values = _class(np.maximum(y, 0) if term.probabilities else np.exp(log_softmax(y)), rng)
        elif term.kind == "binary":
            values = (rng.random(y.shape) < y).astype(np.float64)
        targets.append(LossTarget(term, values))
    return targets


def _class(chances: Array, rng: np.random.Generator) -> Array:
    """One class at each position by the chances along the last axis."""
    reached = np.cumsum(chances, -1)
    drawn = rng.random((*chances.shape[:-1], 1)) * reached[..., -1:]
    return np.asarray(np.minimum((reached <= drawn).sum(-1), chances.shape[-1] - 1))


def _reading(name: str, layout: str, y: Array) -> Term:
    """What an output seems to be: its values, its rank and its name tell."""
    # the last axis first: positions with scores are more usual than maps of them
    for axis in dict.fromkeys((y.ndim - 1, 1)):
        if 0 < axis < y.ndim and y.shape[axis] > 1 and _sums_to_one(y, axis):
            return Term(name, "classes", layout, axis, True)
    if y.ndim == 2 and y.shape[1] > 1 and not _VALUES.search(name):
        if _within_one(y):
            return Term(name, "binary", layout, probabilities=True)
        return Term(name, "classes", layout)
    axis = 2 if y.ndim == 3 else 1
    if y.ndim > 2 and y.shape[axis] > 1 and _SCORES.search(name):
        return Term(name, "classes", layout, axis)
    return Term(name, "norm", layout)


def _sums_to_one(y: Array, axis: int) -> bool:
    return bool((y >= 0).all()) and math.isclose(float(np.abs(y.sum(axis) - 1).max()), 0, abs_tol=1e-3)


def _within_one(y: Array) -> bool:
    return bool((y >= 0).all() and (y <= 1).all())


def _without_ones(shape: list[int] | tuple[int, ...]) -> list[int]:
    return [int(n) for n in shape if n != 1]
