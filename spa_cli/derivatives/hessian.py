"""The Hessian of the mean loss times its gradient.

Exact, by the gradient graph of the gradient graph (``adjoints.second``), where every operator on the way has a second
adjoint. Else by differences of gradients, small steps along the direction on either side: of smooth operators right to
three digits and more (the fourth power of the step, and the rounding of single precision divided by it); a kink within
a step counts as if it were bent.
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
STEP = 3e-5
# of the five-point stencil: where gradients are taken, in steps, and what each counts for
_PLACES = {1: 2 / 3, -1: -2 / 3, 2: -1 / 12, -2: 1 / 12}


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
    """Of the sum of a batch's losses: by the gradients at four places along the direction."""
    weights = model.weights_at(case.feeds)
    step = STEP * _size(weights) / max(_size(along), 1e-30)
    total: dict[str, Array] = {}
    for place, factor in _PLACES.items():
        moved = {n: w + place * step * along[n] if n in along else w for n, w in weights.items()}
        outputs = model.forward(case.feeds, moved)
        found = model.backward(case.feeds, loss.slopes(outputs, case.targets, case.shares), moved)
        for name, values in found.items():
            total[name] = total.get(name, 0.0) + np.asarray(values, np.float64) * (factor / step)
    return total


def _size(values: dict[str, Array]) -> float:
    return float(np.sqrt(sum(np.square(v, dtype=np.float64).sum() for v in values.values())))
