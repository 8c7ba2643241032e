"""Scores of the next token: the perplexity of the pruned model on what the original would say, against the original's.

Of the original's distribution p and the pruned model's q at every position, the cross entropy of q less the entropy of
p is the divergence KL(p || q); the ratio of the perplexities is its exponential (1: nothing moved).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from spa_cli.measures.classes import Classes
from spa_cli.measures.interval import Estimate
from spa_cli.measures.judged import Found, figure, percent

# a model that is twice as perplexed as it was speaks another language
_PERPLEXED = 2.0


class Tokens:
    """``form``: of the scores, along the last axis."""

    def __init__(self, form: str) -> None:
        self._classes = Classes(-1, form, background=False)

    def add(self, before: list[Any], after: list[Any], samples: int) -> None:
        """One run of both."""
        self._classes.add(before, after, samples)

    @property
    def found(self) -> Found:
        """Of all runs so far."""
        found = self._classes.found
        moved, agreement = found.figures["kl"], found.figures["agreement"]
        ratio = Estimate(*(float(np.exp(v)) for v in (moved.value, moved.low, moved.high)))
        text = f"perplexity {figure(ratio)} times the original's, arg-max agrees on {percent(agreement)}"
        return Found(
            found.agreement,
            text,
            {"perplexity_ratio": ratio, **found.figures},
            found.ruined or ratio.least > _PERPLEXED,
        )
