"""Squared gradients sample by sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spa_cli.derivatives.loss import Loss
from spa_cli.derivatives.network import Batch, Network
from spa_cli.derivatives.slopes import Case, Mean, cases
from spa_cli.derivatives.terms import LossTarget
from spa_cli.errors import ModelError
from spa_cli.graph.model import Array
from spa_cli.runtime.session import Feeds


def fisher(model: Network, batches: Sequence[Batch], loss: Loss) -> dict[str, Array]:
    """See ``Differentiable.fisher``.

    Sample by sample, as batches of one; where the batch has a fixed size or its samples see each other, by one run of
    the whole batch per sample.
    """
    mean, alone = Mean(), True
    for case in cases(model, batches, loss):
        # what doesn't work for one batch is not tried for the next
        alone = alone and _separable(model, case, loss)
        for at in np.flatnonzero(case.shares):
            found = _of_one(model, case, loss, int(at)) if alone else _through_all(model, case, loss, int(at))
            share = float(case.shares[at])
            mean.add({n: share * np.square(g, dtype=np.float64) for n, g in found.items()}, share)
    return mean.result()


def _through_all(model: Network, case: Case, loss: Loss, at: int) -> dict[str, Array]:
    only = np.zeros(len(case.shares))
    only[at] = 1
    return model.backward(case.feeds, loss.slopes(case.outputs, case.targets, only))


def _of_one(model: Network, case: Case, loss: Loss, at: int) -> dict[str, Array]:
    feeds, targets = _sample(case, at)
    # samples are alone as they are together (``_separable``)
    outputs = model.forward(feeds)
    return model.backward(feeds, loss.slopes(outputs, targets, np.ones(1)))


def _separable(model: Network, case: Case, loss: Loss) -> bool:
    """Whether samples can be run one by one, and have the same losses then."""
    samples = len(case.shares)
    if samples == 1 or any(t.term.layout == "shared" for t in case.targets):
        return False
    if any(np.ndim(v) and len(v) != samples for v in case.feeds.values()):
        return False
    together = loss.per_sample(case.outputs, case.targets, samples)
    try:
        for at in (0, samples - 1):
            feeds, targets = _sample(case, at)
            (found,) = loss.per_sample(model.forward(feeds), targets, 1)
            if not np.isclose(found, together[at], rtol=1e-3, atol=1e-4):
                return False
    except (ModelError, ValueError):
        # a batch of a fixed size
        return False
    return True


def _sample(case: Case, at: int) -> tuple[Feeds, list[LossTarget]]:
    """The inputs of one sample as a batch of one, and what its outputs are compared with."""
    feeds = {n: v[at : at + 1] if np.ndim(v) else v for n, v in case.feeds.items()}
    own = [LossTarget(t.term, None if t.values is None else t.values[at : at + 1]) for t in case.targets]
    return feeds, own
