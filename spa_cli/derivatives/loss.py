"""Losses on a model's outputs: with labels, or against labels that the model draws itself.

Without labels, class scores are compared with labels *drawn* from the model's own softmax: the expected square of that
gradient is the true Fisher information (Kunstner, Balles & Hennig 2019, arXiv 1905.12558), whereas the class a trained
network gives most to has hardly any gradient left. Any other output counts by half its mean square: what is lost if it
vanishes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from spa_cli.derivatives import compared
from spa_cli.derivatives.targets import drawn, labelled
from spa_cli.derivatives.terms import LossTarget, as_output, by_sample
from spa_cli.errors import UsageError
from spa_cli.graph.model import Array


@dataclass(frozen=True)
class Loss:
    """What is differentiated: a loss per sample.

    ``output``: on this output (by default the first that fits the labels; without labels the sum over all outputs).
    ``classes``: samples (tokens) of other classes weigh nothing. ``seed``: of the labels that are drawn.
    """

    output: str | None = None
    classes: tuple[int, ...] | None = None
    seed: int = 0

    def targets(
        self, outputs: Mapping[str, Array], labels: Array | None, samples: int, batch: int = 0
    ) -> list[LossTarget]:
        """What to compare the outputs of batch number ``batch`` with; the same for all derivatives.

        ``labels``: class indices (n,) or (n, t) (negative ones are ignored), or values in the output's own shape.
        Raises UsageError if there is no such output or none fits the labels.
        """
        chosen = {n: np.asarray(y, np.float64) for n, y in outputs.items() if self.output in (None, n)}
        if not chosen:
            raise UsageError(f"the loss names '{self.output}', which is no output; name one of {', '.join(outputs)}")
        if labels is not None:
            return [labelled(chosen, np.asarray(labels), samples)]
        return drawn(chosen, samples, self.seed + 7919 * batch)

    def counts(self, targets: Sequence[LossTarget], samples: int) -> Array:
        """(n,) 1, or 0 where nothing of a sample is compared: its class isn't asked for, its labels are ignored."""
        counted = np.zeros(samples, bool)
        for target in targets:
            if target.term.kind == "classes" and target.values is not None:
                counted |= self._asked(target.values).reshape(samples, -1).any(1)
            else:
                counted[:] = True
        return counted.astype(np.float64)

    def per_sample(self, outputs: Mapping[str, Array], targets: Sequence[LossTarget], samples: int) -> Array:
        """(n,) losses: the mean over what a sample holds, summed over terms."""
        total = np.zeros(samples)
        for target in targets:
            total += self._term(outputs, target, samples).losses
        return total

    def slopes(self, outputs: Mapping[str, Array], targets: Sequence[LossTarget], shares: Array) -> dict[str, Array]:
        """Slopes of the sum of ``shares`` (n,) times losses in every output, in its shape; zero without a term."""
        found = {name: np.zeros(np.shape(y)) for name, y in outputs.items()}
        for target in targets:
            slopes = self._term(outputs, target, len(shares)).slopes
            found[target.term.output] += as_output(_weighted(slopes, target, shares), target.term.layout)
        return found

    def bends(
        self,
        outputs: Mapping[str, Array],
        targets: Sequence[LossTarget],
        shares: Array,
        along: Mapping[str, Array],
    ) -> dict[str, Array]:
        """How ``slopes`` move as the outputs move along a direction (of those in ``along``; others stay)."""
        found = {name: np.zeros(np.shape(y)) for name, y in outputs.items()}
        for target in targets:
            name, layout = target.term.output, target.term.layout
            if name in along:
                direction = by_sample(np.asarray(along[name], np.float64), layout, len(shares))
                bent = self._term(outputs, target, len(shares)).bend(_arranged(direction, target))
                found[name] += as_output(_weighted(bent, target, shares), layout)
        return found

    def _term(self, outputs: Mapping[str, Array], target: LossTarget, samples: int) -> compared.Compared:
        """One term; slopes are arranged as ``_arranged`` has the output."""
        term, wanted = target.term, target.values
        y = _arranged(by_sample(np.asarray(outputs[term.output], np.float64), term.layout, samples), target)
        if term.kind == "norm" or wanted is None:
            return compared.norm(y)
        if term.kind == "values":
            return compared.squares(y, wanted.reshape(y.shape))
        if term.kind == "binary":
            by = compared.binary_probabilities if term.probabilities else compared.binary
            return by(y, wanted.reshape(y.shape))
        labels = wanted.reshape(len(y), -1)
        by_class = compared.class_probabilities if term.probabilities else compared.classes
        flat = y.reshape(len(y), -1, y.shape[-1])
        found = by_class(flat, np.maximum(labels, 0), self._asked(labels).astype(np.float64))
        return compared.Compared(
            found.losses, found.slopes.reshape(y.shape), lambda v: found.bend(v.reshape(flat.shape)).reshape(y.shape)
        )

    def _asked(self, labels: Array) -> Array:
        asked = labels >= 0
        return np.asarray(asked if self.classes is None else asked & np.isin(labels, self.classes))


def _arranged(y: Array, target: LossTarget) -> Array:
    """An output, samples first, with its classes last."""
    return np.moveaxis(y, target.term.axis, -1) if target.term.kind == "classes" else y


def _weighted(values: Array, target: LossTarget, shares: Array) -> Array:
    """Slopes times the weights of samples, in the order that the output has, samples first."""
    weights = shares.reshape(-1, *[1] * (values.ndim - 1))
    # an infinite slope of a sample that weighs nothing must not count
    own = np.where(weights > 0, values, 0) * weights
    return np.moveaxis(own, -1, target.term.axis) if target.term.kind == "classes" else own
