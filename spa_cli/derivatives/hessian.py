"""The Hessian of the mean loss times its gradient.

Exact, by the gradient graph of the gradient graph (``adjoints.second``), where every operator on the way has a second
adjoint. Else by the difference of two gradients, a small step along the direction on either side: right but for the
square of the step, and for the rounding of single precision divided by it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spa_cli.adjoints.second import Second, second
from spa_cli.derivatives.loss import Loss
from spa_cli.derivatives.network import Batch, Network
from spa_cli.derivatives.slopes import Case, Mean, cases, gradient
from spa_cli.graph.model import Array

# how far weights move for a difference, relative to their size
STEP = 1e-3


def hessian_gradient(model: Network, batches: Sequence[Batch], loss: Loss) -> dict[str, Array]:
    """See ``Differentiable.hessian_gradient``."""
    along = gradient(model, batches, loss)
    known: dict[int, Second] = {}
    mean = Mean()
    for case in cases(model, batches, loss):
        first = model.function(case.feeds)
        if id(first) not in known:
            known[id(first)] = second(first, case.outputs)
        exact = known[id(first)]
        found = difference(model, case, loss, along) if exact.missing else product(model, exact, case, loss, along)
        mean.add(found, float(case.shares.sum()))
    return mean.result()


def product(model: Network, exact: Second, case: Case, loss: Loss, along: dict[str, Array]) -> dict[str, Array]:
    """Of the sum of a batch's losses: what the gradient graph's own gradients say."""
    weights = model.weights_at(case.feeds)
    direction = {n: along.get(n, np.zeros(w.shape)) for n, w in weights.items()}
    slopes = loss.slopes(case.outputs, case.targets, case.shares)
    bent, moved = exact.run(case.feeds, slopes, weights, direction)
    rest = model.backward(case.feeds, loss.bends(case.outputs, case.targets, case.shares, moved))
    return {n: values + bent[n] if n in bent else values for n, values in rest.items()}


def difference(model: Network, case: Case, loss: Loss, along: dict[str, Array]) -> dict[str, Array]:
    """Of the sum of a batch's losses: by the gradients on either side."""
    weights = model.weights_at(case.feeds)
    step = STEP * _size(weights) / max(_size(along), 1e-30)
    sides = []
    for sign in (1, -1):
        moved = {n: w + sign * step * along[n] if n in along else w for n, w in weights.items()}
        outputs = model.forward(case.feeds, moved)
        slopes = loss.slopes(outputs, case.targets, case.shares)
        sides.append(model.backward(case.feeds, slopes, moved))
    ahead, behind = sides
    return {n: (np.asarray(g, np.float64) - behind[n]) / (2 * step) for n, g in ahead.items()}


def _size(values: dict[str, Array]) -> float:
    return float(np.sqrt(sum(np.square(v, dtype=np.float64).sum() for v in values.values())))
