"""AdamW whose steps are relative to the size of what they change; of layers, in what they give."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from spa_cli.graph.model import Array
from spa_cli.tuning.whitened import White

_FIRST, _SECOND, _TINY = 0.9, 0.99, 1e-12
# a weight is changed as if it were at least this large
_SMALLEST = 1e-3
# of what a step changes at most, the part by which matrices shrink
_DECAY = 1e-2
# squared, what a row's gradient counts at least beside the mean of its layer
_UNFELT = 1e-3


class Adam:
    """Decoupled weight decay (Loshchilov and Hutter 2019); a step of ``rate`` changes a tensor by about that part of
    its root mean square, as in Adafactor (Shazeer and Stern 2018), since how large weights are is the exporter's doing.

    Of a weight in ``white`` a step changes every row's output by about that part of how much it varies.
    """

    def __init__(self, weights: Mapping[str, Array], white: White) -> None:
        self._white = white
        own = [name for name in weights if name not in white.layers]
        self._size = {n: max(float(np.sqrt(np.mean(np.square(weights[n])))), _SMALLEST) for n in own}
        self._first = {n: np.zeros_like(weights[n]) for n in own}
        self._second = {n: np.zeros_like(weights[n]) for n in own}
        self._steps = 0

    def step(self, weights: dict[str, Array], gradients: Mapping[str, Array], rate: float) -> None:
        """Change ``weights`` in place."""
        self._steps += 1
        corrected = rate * math.sqrt(1 - _SECOND**self._steps) / (1 - _FIRST**self._steps)
        for name, gradient in gradients.items():
            if name in self._white.layers:
                self._step_layer(name, weights, gradient, corrected)
                continue
            first, second, weight = self._first[name], self._second[name], weights[name]
            first += (1 - _FIRST) * (gradient - first)
            second += (1 - _SECOND) * (np.square(gradient) - second)
            if weight.ndim > 1:
                weight *= 1 - rate * _DECAY
            weight -= corrected * self._white.sizes.get(name, self._size[name]) * first / (np.sqrt(second) + _TINY)

    def _step_layer(self, name: str, weights: dict[str, Array], gradient: Array, rate: float) -> None:
        layer = self._white.layers[name]
        change, energy = layer.white(gradient)
        first = self._first.setdefault(name, np.zeros_like(change))
        second = self._second.setdefault(name, np.zeros_like(energy))
        first += (1 - _FIRST) * (change - first)
        second += (1 - _SECOND) * (energy - second)
        # a row that hardly matters is not moved as far as the others
        felt = np.sqrt(np.maximum(second, _UNFELT * float(second.mean()))) + _TINY
        weights[name] -= layer.stored((rate * layer.gives / felt)[..., None] * first)


def warmed(part: float, warm: float = 0.05) -> float:
    """The share of the rate at this part (0 to 1) of the training: up in a straight line, down along a cosine."""
    if part < warm:
        return part / warm
    return 0.5 * (1 + math.cos(math.pi * (part - warm) / (1 - warm)))
