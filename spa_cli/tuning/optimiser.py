"""AdamW whose steps are relative to the size of what they change."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from spa_cli.graph.model import Array

_FIRST, _SECOND, _TINY = 0.9, 0.99, 1e-12
# a weight is changed as if it were at least this large
_SMALLEST = 1e-3
# of what a step changes at most, the part by which matrices shrink
_DECAY = 1e-2


class Adam:
    """Decoupled weight decay (Loshchilov and Hutter 2019); a step of ``rate`` changes a tensor by about that part of
    its root mean square, as in Adafactor (Shazeer and Stern 2018), since how large weights are is the exporter's doing.
    """

    def __init__(self, weights: Mapping[str, Array]) -> None:
        self._size = {n: max(float(np.sqrt(np.mean(np.square(w)))), _SMALLEST) for n, w in weights.items()}
        self._first = {n: np.zeros_like(w) for n, w in weights.items()}
        self._second = {n: np.zeros_like(w) for n, w in weights.items()}
        self._steps = 0

    def step(self, weights: dict[str, Array], gradients: Mapping[str, Array], rate: float) -> None:
        """Change ``weights`` in place."""
        self._steps += 1
        corrected = rate * math.sqrt(1 - _SECOND**self._steps) / (1 - _FIRST**self._steps)
        for name, gradient in gradients.items():
            first, second, weight = self._first[name], self._second[name], weights[name]
            first += (1 - _FIRST) * (gradient - first)
            second += (1 - _SECOND) * (np.square(gradient) - second)
            if weight.ndim > 1:
                weight *= 1 - rate * _DECAY
            weight -= corrected * self._size[name] * first / (np.sqrt(second) + _TINY)


def warmed(part: float, warm: float = 0.05) -> float:
    """The share of the rate at this part (0 to 1) of the training: up in a straight line, down along a cosine."""
    if part < warm:
        return part / warm
    return 0.5 * (1 + math.cos(math.pi * (part - warm) / (1 - warm)))
