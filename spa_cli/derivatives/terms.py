"""What an output is compared with, and where its samples are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spa_cli.graph.model import Array


@dataclass(frozen=True)
class Term:
    """A loss on one output. ``kind``: "classes" (``axis``, once samples are first, holds them), "binary" (each number
    says yes or no), "values" (squared error), "norm" (half the mean square). ``probabilities``: it has been through
    its softmax or sigmoid. ``layout``: where its samples are (``by_sample``).
    """

    output: str
    kind: str
    layout: str
    axis: int = 1
    probabilities: bool = False


@dataclass(frozen=True, eq=False)
class LossTarget:
    """A term and what its output is compared with: (n, ...), ``None`` for a norm."""

    term: Term
    values: Array | None = None


def layout_of(y: Array, samples: int) -> str:
    """Which axis of an output has the samples."""
    if y.ndim and y.shape[0] == samples:
        return "first"
    if y.ndim > 1 and y.shape[1] == samples:
        return "second"
    return "folded" if y.ndim and y.shape[0] % samples == 0 else "shared"


def by_sample(y: Array, layout: str, samples: int) -> Array:
    """The output with samples first. "folded": samples and positions shared an axis; "shared": it has no samples."""
    if layout == "second":
        return np.moveaxis(y, 1, 0)
    if layout == "folded":
        return y.reshape(samples, -1, *y.shape[1:])
    return np.broadcast_to(y, (samples, *y.shape)) if layout == "shared" else y


def as_output(slopes: Array, layout: str) -> Array:
    """Slopes in the numbers that ``by_sample`` gives, as slopes in the output itself."""
    if layout == "second":
        return np.moveaxis(slopes, 0, 1)
    if layout == "folded":
        return slopes.reshape(-1, *slopes.shape[2:])
    return slopes.sum(0) if layout == "shared" else slopes
