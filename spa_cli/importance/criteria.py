"""All criteria, by name: importing their modules enters them in the table."""

from __future__ import annotations

from spa_cli.importance import activation, gradient, magnitude, user_scores
from spa_cli.importance.registry import CRITERIA, DATA, GRADIENTS, WEIGHTS, Criterion

__all__ = [
    "CRITERIA",
    "DATA",
    "GRADIENTS",
    "WEIGHTS",
    "Criterion",
    "activation",
    "gradient",
    "magnitude",
    "user_scores",
]
