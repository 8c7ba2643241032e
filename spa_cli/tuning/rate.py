"""How large steps may be: found by trying, before the training."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from spa_cli.tuning.batches import Feeds
from spa_cli.tuning.match import Match, Weights
from spa_cli.tuning.optimiser import Adam

# rates that are tried, one a step, and how many
_LOWEST, _HIGHEST, TRIED = 3e-4, 3e-2, 24
# the loss of a batch, relative to what it was before any step, from where on steps do harm
_HARM = 1.5
# of the rate at which the loss was least: what many steps bear
_SHARE = 0.5
_SMOOTH = 5


def found_rate(match: Match, weights: Weights, steps: Iterator[list[Feeds]]) -> float:
    """The learning rate, by a range test (Smith 2017): it grows from step to step until the loss does."""
    tried = {name: value.copy() for name, value in weights.items()}
    adam, rates, left = Adam(tried), np.geomspace(_LOWEST, _HIGHEST, TRIED), list[float]()
    for rate, parts in zip(rates, steps, strict=False):
        before = match.loss(parts, weights)
        now, gradients = match.slope(parts, tried)
        left.append(now / max(before, 1e-30))
        if not left[-1] <= _HARM:
            break
        adam.step(tried, gradients, float(rate))
    smooth = [float(np.mean(left[max(0, i - _SMOOTH + 1) : i + 1])) for i in range(len(left))]
    return float(rates[int(np.argmin(smooth))]) * _SHARE
