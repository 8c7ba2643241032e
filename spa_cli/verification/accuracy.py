"""How often a model's scores meet labels, whatever the layout of its classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spa_cli.graph.model import Array


def hits(output: Any, labels: Array) -> NDArray[np.bool_] | None:
    """Per label that counts (negative ones don't), whether the output meets it; ``None`` if it can't be about them.

    ``labels`` (n, ...) are class indices, one-hot rows, or 0 and 1 for an output with one score a sample. Classes are
    on the last axis of the output or on axis 1; an integer output names the classes itself.
    """
    if not isinstance(output, np.ndarray) or not output.ndim or len(output) != len(labels):
        return None
    if labels.dtype.kind == "f" and not (labels == np.round(labels)).all():
        return None
    if labels.shape == output.shape and output.ndim >= 2 and output.shape[-1] > 1 and _one_hot(labels):
        labels = labels.argmax(-1)
    said = _classes(output, labels)
    if said is None:
        return None
    counted = labels.ravel() >= 0
    return np.asarray((said.ravel() == labels.ravel())[counted])


def _one_hot(labels: Array) -> bool:
    return bool(((labels == 0) | (labels == 1)).all() and (labels.sum(-1) == 1).all())


def _classes(output: Array, labels: Array) -> Array | None:
    """What the output says, shaped like the labels."""
    if output.dtype.kind in "iub":
        return output if output.shape == labels.shape else None
    if output.dtype.kind != "f":
        return None
    most = int(labels.max(initial=0))
    if output.size == labels.size and most <= 1:
        scores = output.reshape(labels.shape)
        # probabilities lie between 0 and 1, logits on both sides of 0
        half = 0.5 if scores.min() >= 0 and scores.max() <= 1 else 0.0
        return np.asarray(scores > half).astype(np.int64)
    for axis in (output.ndim - 1, 1):
        if axis < output.ndim and np.delete(output.shape, axis).tolist() == list(labels.shape):
            return np.asarray(output.argmax(axis)) if output.shape[axis] > max(most, 1) else None
    return None
