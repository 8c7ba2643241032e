"""How large steps may be: found by trying, before the training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from spa_cli.tuning.batches import Feeds
from spa_cli.tuning.match import Match, Weights
from spa_cli.tuning.optimiser import Adam
from spa_cli.tuning.whitened import White

# from the largest on; the last is taken untried
RATES = (1e-2, 3e-3, 1e-3, 3e-4)
# steps of a trial, and how many of the last ones are in the mean
TRIED, _LAST = 16, 6
# a weight that was fitted in closed form lies in a narrow valley, and every first step leaves it: by how much the loss
# on held-back samples may grow in a trial, since so many steps win it back. More is not won back where samples are few:
# of MobileNetV2 at half its MACs a rate of 0.01 made 1.08 of it at first and 1.10 after 269 steps, 0.002 0.98 and 0.94
_BORNE, _MANY = 0.05, 500


def found_rate(
    match: Match,
    weights: Weights,
    steps: Iterator[list[Feeds]],
    judges: Sequence[Feeds],
    expected: float,
    white: White,
) -> float:
    """The largest rate of a few that a short run bears (a range test from above; Smith 2017), by the mean of its last
    weights on held-back samples (``judges``).

    ``expected``: how many steps there will be; few bear less.
    """
    most = match.held(judges, weights) * (1 + _BORNE * min(1.0, expected / _MANY))
    for rate in RATES[:-1]:
        tried = {name: value.copy() for name, value in weights.items()}
        adam, mean = Adam(tried, white), {name: np.zeros_like(value) for name, value in weights.items()}
        for at, parts in zip(range(TRIED), steps, strict=False):
            now, gradients = match.slope(parts, tried)
            if not np.isfinite(now):
                break
            adam.step(tried, gradients, rate * (at + 1) / TRIED)
            for name, value in tried.items() if at >= TRIED - _LAST else ():
                mean[name] += value / _LAST
        else:
            if match.held(judges, mean) <= most:
                return rate
    return RATES[-1]
