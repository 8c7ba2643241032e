"""First and second derivatives of the mean loss. Imported once torch is known to be there (``backend.require``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from spa_cli.errors import ModelError, UsageError, first_line
from spa_cli.gradients.backend import INSTEAD
from spa_cli.gradients.loss import Loss
from spa_cli.gradients.network import Batch, TorchNetwork
from spa_cli.gradients.operators import Tensor
from spa_cli.graph.model import Array


def gradient(model: TorchNetwork, batches: Sequence[Batch], loss: Loss) -> dict[str, Array]:
    """See ``Differentiable.gradient``."""
    total, weight = zeros(model), 0.0
    for value, count in weighted(model, batches, loss):
        _add(total, torch.autograd.grad(value, list(model.weights.values()), allow_unused=True))
        weight += count
    return finished(model, total, weight)


def hessian_gradient(model: TorchNetwork, batches: Sequence[Batch], loss: Loss) -> dict[str, Array]:
    """See ``Differentiable.hessian_gradient``."""
    first = gradient(model, batches, loss)
    leaves = list(model.weights.values())
    along = [torch.from_numpy(g).to(w.dtype) for g, w in zip(first.values(), leaves, strict=True)]
    total, weight = zeros(model), 0.0
    for value, count in weighted(model, batches, loss):
        weight += count
        try:
            slopes = torch.autograd.grad(value, leaves, create_graph=True, allow_unused=True)
            # a loss that is linear in a weight has a slope that depends on none
            pairs = [(s, a) for s, a in zip(slopes, along, strict=True) if s is not None and s.requires_grad]
            if pairs:
                _add(total, torch.autograd.grad(sum((s * a).sum() for s, a in pairs), leaves, allow_unused=True))
        except (RuntimeError, NotImplementedError) as error:
            raise ModelError(
                f"an operator of the model has no second derivative in torch ({first_line(error)}); "
                f"use a criterion of first order, or {INSTEAD.removeprefix('use ')}"
            ) from error
    return finished(model, total, weight)


def weighted(model: TorchNetwork, batches: Sequence[Batch], loss: Loss) -> Iterator[tuple[Tensor, float]]:
    """(weighted sum of the losses, sum of the weights) of each batch in which anything weighs."""
    for number, (feeds, labels, weights) in enumerate(batches):
        outputs = model.forward(feeds)
        targets = loss.targets(outputs, labels, len(weights), number)
        shares = torch.from_numpy(np.asarray(weights, np.float64)) * loss.counts(targets, len(weights))
        if float(shares.sum()) > 0:
            losses = loss.per_sample(outputs, targets, len(weights))
            yield (losses * shares.to(losses.dtype)).sum(), float(shares.sum())


def finished(model: TorchNetwork, total: list[Tensor], weight: float) -> dict[str, Array]:
    """Means by name; raises UsageError if nothing weighed anything, ModelError if a derivative isn't finite."""
    if weight <= 0:
        raise UsageError("no sample counts in the loss; give samples of the classes asked for, with labels")
    found = {}
    for name, sum_ in zip(model.names, total, strict=True):
        found[name] = np.asarray((sum_ / weight).numpy(), np.float64)
        if not np.isfinite(found[name]).all():
            raise ModelError(f"the gradient by '{name}' is not finite on these samples; {INSTEAD}")
    return found


def zeros(model: TorchNetwork) -> list[Tensor]:
    """Sums to add up gradients in, one per weight."""
    return [torch.zeros(w.shape, dtype=torch.float64) for w in model.weights.values()]


def _add(total: list[Tensor], gradients: Sequence[Any]) -> None:
    for sum_, part in zip(total, gradients, strict=True):
        if part is not None:
            sum_ += part
