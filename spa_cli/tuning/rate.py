"""How large steps may be: found by trying, before the training."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from spa_cli.tuning.batches import Feeds
from spa_cli.tuning.match import Match, Weights
from spa_cli.tuning.optimiser import Adam
from spa_cli.tuning.whitened import White

# from the largest on; the last is taken untried
RATES = (1e-2, 3e-3, 1e-3, 3e-4)
# steps of a trial, and how many of the last ones are looked at
TRIED, _LAST = 16, 6
# a weight that was fitted in closed form lies in a narrow valley, and every first step leaves it: by how much the loss
# of a batch may grow in a trial, since so many steps win it back
_BORNE, _MANY = 0.5, 500


def found_rate(match: Match, weights: Weights, steps: Iterator[list[Feeds]], expected: float, white: White) -> float:
    """The largest rate of a few that a short run bears (a range test from above; Smith 2017).

    ``expected``: how many steps there will be; few bear less.
    """
    most = 1 + _BORNE * min(1.0, expected / _MANY)
    for rate in RATES[:-1]:
        tried = {name: value.copy() for name, value in weights.items()}
        adam, left = Adam(tried, white), list[float]()
        for at, parts in zip(range(TRIED), steps, strict=False):
            before = match.held(parts, weights) if at >= TRIED - _LAST else 0.0
            now, gradients = match.slope(parts, tried)
            if not np.isfinite(now):
                break
            if before:
                left.append(now / before)
            adam.step(tried, gradients, rate * (at + 1) / TRIED)
        if left and float(np.mean(left)) <= most:
            return rate
    return RATES[-1]
