"""What an output is compared with, and where its samples are."""

from __future__ import annotations

from dataclasses import dataclass

from spa_cli.gradients.operators import Tensor


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


@dataclass(frozen=True)
class LossTarget:
    """A term and what its output is compared with: (n, ...), ``None`` for a norm."""

    term: Term
    values: Tensor = None


def layout_of(y: Tensor, samples: int) -> str:
    """Which axis of an output has the samples."""
    if y.dim() and y.shape[0] == samples:
        return "first"
    if y.dim() > 1 and y.shape[1] == samples:
        return "second"
    return "folded" if y.dim() and y.shape[0] % samples == 0 else "shared"


def by_sample(y: Tensor, layout: str, samples: int) -> Tensor:
    """The output with samples first. "folded": samples and positions shared an axis; "shared": it has no samples."""
    if layout == "second":
        return y.movedim(1, 0)
    if layout == "folded":
        return y.reshape(samples, -1, *y.shape[1:])
    return y.unsqueeze(0).expand(samples, *y.shape) if layout == "shared" else y
