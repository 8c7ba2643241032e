"""The gradient of the mean loss: what every batch gives, added up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from spa_cli.derivatives.loss import Loss
from spa_cli.derivatives.network import INSTEAD, Batch, Network
from spa_cli.derivatives.terms import LossTarget
from spa_cli.errors import ModelError, UsageError
from spa_cli.graph.model import Array
from spa_cli.runtime.session import Feeds


@dataclass(frozen=True, eq=False)
class Case:
    """One batch: its outputs, what they are compared with, the weight of each sample in the loss (n,)."""

    feeds: Feeds
    outputs: dict[str, Array]
    targets: list[LossTarget]
    shares: Array


def cases(model: Network, batches: Sequence[Batch], loss: Loss) -> Iterator[Case]:
    """The batches in which anything weighs."""
    for number, (feeds, labels, weights) in enumerate(batches):
        outputs = model.forward(feeds)
        targets = loss.targets(outputs, labels, len(weights), number)
        shares = np.asarray(weights, np.float64) * loss.counts(targets, len(weights))
        if shares.sum() > 0:
            yield Case(feeds, outputs, targets, shares)


@dataclass(eq=False)
class Mean:
    """A weighted mean of derivatives, added up batch by batch."""

    total: dict[str, Array] = field(default_factory=dict)
    weight: float = 0.0

    def add(self, part: dict[str, Array], weight: float) -> None:
        """A sum by name, and what it weighs."""
        for name, values in part.items():
            self.total[name] = self.total.get(name, 0.0) + np.asarray(values, np.float64)
        self.weight += weight

    def result(self) -> dict[str, Array]:
        """Means by name; raises UsageError if nothing weighed anything, ModelError if a derivative isn't finite."""
        if self.weight <= 0:
            raise UsageError("no sample counts in the loss; give samples of the classes asked for, with labels")
        for name, total in self.total.items():
            if not np.isfinite(total).all():
                raise ModelError(f"the gradient by '{name}' is not finite on these samples; {INSTEAD}")
        return {name: np.asarray(total / self.weight) for name, total in self.total.items()}


def gradient(model: Network, batches: Sequence[Batch], loss: Loss) -> dict[str, Array]:
    """See ``Differentiable.gradient``."""
    mean = Mean()
    for case in cases(model, batches, loss):
        slopes = loss.slopes(case.outputs, case.targets, case.shares)
        mean.add(model.backward(case.feeds, slopes), float(case.shares.sum()))
    return mean.result()
