"""Squared gradients sample by sample. Imported once torch is known to be there (``backend.require``)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from spa_cli.gradients.derivatives import finished, zeros
from spa_cli.gradients.loss import Loss
from spa_cli.gradients.network import Batch, TorchNetwork, tensors
from spa_cli.gradients.operators import Tensor
from spa_cli.gradients.terms import LossTarget
from spa_cli.graph.model import Array
from spa_cli.runtime.session import Feeds

# bytes of gradients held at once
_ROOM = 256_000_000
_TOGETHER = 32


class _Inseparable(Exception):
    """The samples of a batch can't be run one by one, or give other losses then."""


@dataclass(frozen=True, eq=False)
class _Case:
    """One batch: what its outputs are compared with, the weight and the loss of each sample."""

    model: TorchNetwork
    feeds: Feeds
    loss: Loss
    targets: list[LossTarget]
    shares: Tensor
    losses: Tensor


def fisher(model: TorchNetwork, batches: Sequence[Batch], loss: Loss) -> dict[str, Array]:
    """See ``Differentiable.fisher``.

    All samples at once (``torch.func.vmap``) where torch can; else one by one; else, where the batch has a fixed size
    or its samples see each other, by one backward pass per sample through the whole batch.
    """
    total, weight = zeros(model), 0.0
    ways: list[Way] = [_vectorised, _one_by_one, _through_all]
    for number, (feeds, labels, weights) in enumerate(batches):
        outputs, samples = model.forward(feeds), len(weights)
        targets = loss.targets(outputs, labels, samples, number)
        shares = torch.from_numpy(np.asarray(weights, np.float64)) * loss.counts(targets, samples)
        case = _Case(model, feeds, loss, targets, shares, loss.per_sample(outputs, targets, samples))
        weight += float(shares.sum())
        part = _through_all(case) if samples == 1 else _by_the_first_that_works(ways, case)
        for sum_, more in zip(total, part, strict=True):
            sum_ += more
    return finished(model, total, weight)


Way = Callable[[_Case], list[Tensor]]


def _by_the_first_that_works(ways: list[Way], case: _Case) -> list[Tensor]:
    """What doesn't work for one batch is not tried for the next."""
    while len(ways) > 1:
        try:
            return ways[0](case)
        except Exception:  # noqa: BLE001 - whatever torch.func can't do, the next way can
            del ways[0]
    return ways[0](case)


def _through_all(case: _Case) -> list[Tensor]:
    total, leaves = zeros(case.model), list(case.model.weights.values())
    for i in torch.nonzero(case.shares).flatten().tolist():
        found = torch.autograd.grad(case.losses[i], leaves, retain_graph=True, allow_unused=True)
        _square(total, found, float(case.shares[i]))
    return total


def _one_by_one(case: _Case) -> list[Tensor]:
    total, leaves = zeros(case.model), list(case.model.weights.values())
    for i in torch.nonzero(case.shares).flatten().tolist():
        outputs = case.model.forward(_sample(case, i))
        own = [LossTarget(t.term, None if t.values is None else t.values[i : i + 1]) for t in case.targets]
        (value,) = case.loss.per_sample(outputs, own, 1)
        _agree(value.detach(), case.losses[i].detach())
        _square(total, torch.autograd.grad(value, leaves, allow_unused=True), float(case.shares[i]))
    return total


def _vectorised(case: _Case) -> list[Tensor]:
    single, targets, total = _sample(case, 0), case.targets, zeros(case.model)
    function, inputs = case.model.function(single), tensors(case.feeds)
    split = {n: 0 if np.shape(single[n]) != np.shape(case.feeds[n]) else None for n in inputs}
    values = [t.values for t in targets]

    def value(weights: dict[str, Tensor], given: dict[str, Tensor], wanted: list[Tensor]) -> Tensor:
        alone = {n: x if split[n] is None else x.unsqueeze(0) for n, x in given.items()}
        outputs = dict(zip(case.model.outputs, function(weights, alone), strict=True))
        own = [LossTarget(t.term, None if w is None else w.unsqueeze(0)) for t, w in zip(targets, wanted, strict=True)]
        return case.loss.per_sample(outputs, own, 1)[0]

    compared = [None if v is None else 0 for v in values]
    each = torch.func.vmap(torch.func.grad_and_value(value), in_dims=(None, split, compared))
    weights = {n: w.detach() for n, w in case.model.weights.items()}
    step = max(1, min(_TOGETHER, _ROOM // max(sum(4 * w.numel() for w in weights.values()), 1)))
    for start in range(0, len(case.shares), step):
        at = slice(start, start + step)
        with warnings.catch_warnings():
            # that an operator has no batching rule costs time, nothing else
            warnings.simplefilter("ignore")
            gradients, found = each(
                weights,
                {n: x if split[n] is None else x[at] for n, x in inputs.items()},
                [None if v is None else v[at] for v in values],
            )
        _agree(found, case.losses[at].detach())
        for sum_, gradient in zip(total, (gradients[n] for n in case.model.weights), strict=True):
            # an infinite gradient of a sample that weighs nothing must not count
            shares = case.shares[at].reshape(-1, *[1] * (gradient.dim() - 1))
            sum_ += torch.where(shares > 0, gradient.double().square() * shares, 0.0).sum(0)
    return total


def _sample(case: _Case, i: int) -> Feeds:
    """The inputs of one sample, as a batch of one."""
    if any(t.term.layout == "shared" for t in case.targets):
        raise _Inseparable
    alone = {}
    for name, value in case.feeds.items():
        if np.ndim(value) and len(value) != len(case.shares):
            raise _Inseparable
        alone[name] = value[i : i + 1] if np.ndim(value) else value
    return alone


def _agree(alone: Tensor, together: Tensor) -> None:
    """Samples that see each other (a fixed batch, statistics of a batch) have other losses alone."""
    if not torch.allclose(alone, together, rtol=1e-3, atol=1e-4):
        raise _Inseparable


def _square(total: list[Tensor], gradients: Sequence[Tensor], share: float) -> None:
    for sum_, gradient in zip(total, gradients, strict=True):
        if gradient is not None:
            sum_ += share * gradient.double().square()
