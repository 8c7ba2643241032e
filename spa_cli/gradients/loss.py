"""Losses on a model's outputs: with labels, or against labels that the model draws itself.

Without labels, class scores are compared with labels *drawn* from the model's own softmax: the expected square of that
gradient is the true Fisher information (Kunstner, Balles & Hennig 2019, arXiv 1905.12558), whereas the class a trained
network gives most to has hardly any gradient left. Any other output counts by half its mean square: what is lost if it
vanishes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spa_cli.errors import UsageError
from spa_cli.gradients.operators import Tensor
from spa_cli.gradients.terms import LossTarget, by_sample
from spa_cli.graph.model import Array

_TINY = 1e-12


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
        self, outputs: dict[str, Tensor], labels: Array | None, samples: int, batch: int = 0
    ) -> list[LossTarget]:
        """What to compare the outputs of batch number ``batch`` with; the same for all derivatives.

        ``labels``: class indices (n,) or (n, t) (negative ones are ignored), or values in the output's own shape.
        Raises UsageError if there is no such output or none fits the labels.
        """
        from spa_cli.gradients.targets import drawn, labelled

        chosen = {n: y.detach() for n, y in outputs.items() if self.output in (None, n)}
        if not chosen:
            raise UsageError(f"the loss names '{self.output}', which is no output; name one of {', '.join(outputs)}")
        if labels is not None:
            return [labelled(chosen, np.asarray(labels), samples)]
        return drawn(chosen, samples, self.seed + 7919 * batch)

    def counts(self, targets: Sequence[LossTarget], samples: int) -> Tensor:
        """(n,) 1, or 0 where nothing of a sample is compared: its class isn't asked for, its labels are ignored."""
        import torch

        counted = torch.zeros(samples, dtype=torch.bool)
        for target in targets:
            counted |= self._asked(target.values).reshape(samples, -1).any(1) if target.term.kind == "classes" else True
        return counted.to(torch.float64)

    def per_sample(self, outputs: dict[str, Tensor], targets: Sequence[LossTarget], samples: int) -> Tensor:
        """(n,) losses: the mean over what a sample holds, summed over terms."""
        return sum(self._term(by_sample(outputs[t.term.output], t.term.layout, samples), t) for t in targets)

    def _term(self, y: Tensor, target: LossTarget) -> Tensor:
        import torch
        from torch.nn import functional as F

        term, wanted, n = target.term, target.values, y.shape[0]
        if term.kind == "norm":
            return y.reshape(n, -1).square().mean(1) / 2
        if term.kind == "values":
            return (y.reshape(n, -1) - wanted.reshape(n, -1)).square().mean(1)
        if term.kind == "binary":
            y, wanted = y.reshape(n, -1), wanted.reshape(n, -1).to(y.dtype)
            if term.probabilities:
                y = y.clamp(_TINY, 1 - 1e-7)
                return -(wanted * y.log() + (1 - wanted) * (1 - y).log()).mean(1)
            return (F.softplus(y) - wanted * y).mean(1)
        y = y.movedim(term.axis, -1).reshape(n, -1, y.shape[term.axis])
        scores = y.clamp(min=_TINY).log() if term.probabilities else torch.log_softmax(y, -1)
        wanted = wanted.reshape(n, -1)
        asked = self._asked(wanted).to(y.dtype)
        each = -scores.gather(-1, wanted.clamp(min=0).unsqueeze(-1)).squeeze(-1)
        return (each * asked).sum(1) / asked.sum(1).clamp(min=1)

    def _asked(self, labels: Tensor) -> Tensor:
        import torch

        asked = labels >= 0
        if self.classes is None:
            return asked
        return asked & (labels.unsqueeze(-1) == torch.tensor(self.classes)).any(-1)
