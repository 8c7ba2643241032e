"""What a model's outputs are compared with: labels given, or labels drawn from the outputs themselves.

Imported once torch is known to be there (``backend.require``).
"""

from __future__ import annotations

import math
import re

import numpy as np
import torch

from spa_cli.errors import UsageError
from spa_cli.gradients.operators import Tensor
from spa_cli.gradients.terms import LossTarget, Term, by_sample, layout_of
from spa_cli.graph.model import Array

# what an output with positions is called where it scores classes, and one without where it doesn't
_SCORES = re.compile(r"logit|prob|score|softmax|class|cls", re.IGNORECASE)
_VALUES = re.compile(r"embed|hidden|state|feature|pool|action|value|box|coord|mean|std|latent", re.IGNORECASE)


def labelled(outputs: dict[str, Tensor], labels: Array, samples: int) -> LossTarget:
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


def _fit(name: str, layout: str, y: Tensor, labels: Array) -> LossTarget | None:
    inner, wanted = _without_ones(y.shape[1:]), _without_ones(labels.shape[1:])
    whole = labels.dtype.kind in "iub" or bool(np.all(labels == np.round(labels)))
    if whole:
        axis = _class_axis(y, wanted)
        if axis is not None:
            return _classes(name, layout, y, axis, torch.from_numpy(labels.astype(np.int64)))
    if inner != wanted:
        return None
    given = torch.from_numpy(labels.astype(np.float64)).to(y.dtype)
    if labels.dtype.kind in "iub" and labels.min() >= 0 and labels.max() <= 1:
        one_hot = y.dim() == 2 and y.shape[1] > 1 and bool((labels.reshape(len(labels), -1).sum(1) == 1).all())
        if one_hot:
            return _classes(name, layout, y, 1, given.reshape(y.shape).argmax(1))
        return LossTarget(Term(name, "binary", layout, probabilities=_within_one(y)), given)
    return LossTarget(Term(name, "values", layout), given)


def _class_axis(y: Tensor, wanted: list[int]) -> int | None:
    """The axis without which the output has the shape of the labels: the last of three, the second of more or less."""
    axes = [y.dim() - 1, *range(1, y.dim() - 1)] if y.dim() == 3 else list(range(1, y.dim()))
    for axis in axes:
        if y.shape[axis] > 1 and _without_ones([n for i, n in enumerate(y.shape) if i not in (0, axis)]) == wanted:
            return axis
    return None


def _classes(name: str, layout: str, y: Tensor, axis: int, labels: Tensor) -> LossTarget:
    if int(labels.max()) >= y.shape[axis]:
        raise UsageError(
            f"the labels go up to {int(labels.max())}, output '{name}' has {y.shape[axis]} classes; "
            "number classes from 0, or name another output"
        )
    return LossTarget(Term(name, "classes", layout, axis, _sums_to_one(y, axis)), labels)


def drawn(outputs: dict[str, Tensor], samples: int, seed: int) -> list[LossTarget]:
    """For each output labels drawn from the probabilities it stands for, or nothing where it scores no classes."""
    generator = torch.Generator().manual_seed(seed)
    targets = []
    for name, output in outputs.items():
        layout = layout_of(output, samples)
        y = by_sample(output, layout, samples).to(torch.float64)
        term = _reading(name, layout, y)
        values = None
        if term.kind == "classes":
            y = y.movedim(term.axis, -1)
            chances = y.clamp(min=0) if term.probabilities else torch.softmax(y, -1)
            values = torch.multinomial(chances.reshape(-1, y.shape[-1]), 1, generator=generator).reshape(y.shape[:-1])
        elif term.kind == "binary":
            values = torch.bernoulli(y.clamp(0, 1), generator=generator)
        targets.append(LossTarget(term, values))
    return targets


def _reading(name: str, layout: str, y: Tensor) -> Term:
    """What an output seems to be: its values, its rank and its name tell."""
    # the last axis first: positions with scores are more usual than maps of them
    for axis in dict.fromkeys((y.dim() - 1, 1)):
        if 0 < axis < y.dim() and y.shape[axis] > 1 and _sums_to_one(y, axis):
            return Term(name, "classes", layout, axis, True)
    if y.dim() == 2 and y.shape[1] > 1 and not _VALUES.search(name):
        if _within_one(y):
            return Term(name, "binary", layout, probabilities=True)
        return Term(name, "classes", layout)
    axis = 2 if y.dim() == 3 else 1
    if y.dim() > 2 and y.shape[axis] > 1 and _SCORES.search(name):
        return Term(name, "classes", layout, axis)
    return Term(name, "norm", layout)


def _sums_to_one(y: Tensor, axis: int) -> bool:
    return bool((y >= 0).all()) and math.isclose(float((y.sum(axis) - 1).abs().max()), 0, abs_tol=1e-3)


def _within_one(y: Tensor) -> bool:
    return bool((y >= 0).all() and (y <= 1).all())


def _without_ones(shape: list[int] | tuple[int, ...]) -> list[int]:
    return [int(n) for n in shape if n != 1]
