"""How errors of layers compare: what each does to what it is added into, and to the network's outputs.

A layer that loses a fraction ``r`` of what it gives counts ``r C``, with ``C = tr(M H M^T) sqrt(o) / s``: relative to
the variance ``s`` of what the error is added into (``M``: its weights ``W`` through the norm behind it), wide layers
more. To first order outputs feel ``r F`` of it, with ``F = tr(G W H W^T)`` (``sensitivity``). Neither is right alone.
``C`` says nothing of what comes after: outputs of a detector feel the first layers a hundred times as much as those of
the median, and where only 5 of their 16 channels stay, a quarter of the score goes. ``F`` takes errors of positions for
independent, and knows of no refit behind: it leaves YOLOX-Nano 15.5 mAP50 at 0.7 of its MACs, ``C`` 27.3. So errors
count as ``C`` says, but where ``F / C`` is above the median of the layers, by the geometric mean of both: 37.3.
Classifiers, which give one answer a sample, gain nothing by it (measured: docs/how-it-works.md).
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np

from spa_cli.graph.model import Array, Graph
from spa_cli.obspa.cholesky import product
from spa_cli.obspa.epilogue import norm_scale, per_row
from spa_cli.obspa.layers import Layer
from spa_cli.obspa.sensitivity import Sensitivity, root
from spa_cli.obspa.statistics import Statistics, reader


class Directions:
    """Of the layers of a network, what its outputs feel of their errors."""

    def __init__(
        self, graph: Graph, layers: list[Layer], statistics: dict[str, Statistics], sensitivity: Sensitivity
    ) -> None:
        self._graph, self._statistics = graph, statistics
        self._metric = sensitivity.metric
        self._layers = layers

    @property
    def known(self) -> bool:
        """Whether anything is, of any layer."""
        return bool(self._energies)

    def weight(self, layer: Layer) -> float:
        """How much more errors of the layer count than relative to what they are added into, at least 1."""
        return self._weights.get(layer.key, 1.0)

    def felt(self, layer: Layer) -> Array | None:
        """``R W`` (g, o, p), ``R^T R = G``, as large as ``M`` for all it reads; ``None`` if all directions are alike.

        The metric says in which directions, not how much: that is the ``weight``.
        """
        # layers that share a weight are one: what they read is added up, for one and the same matrix
        if layer.siblings or layer.key not in self._energies:
            return None
        own, felt = self._energies[layer.key]
        weight, metric = self._statistics[layer.key].weight, self._metric[layer.key]
        return np.stack([product(root(g), w) for g, w in zip(metric, weight, strict=True)]) * math.sqrt(own / felt)

    @cached_property
    def _energies(self) -> dict[str, tuple[float, float]]:
        """``tr(M H M^T)`` and ``tr(G W H W^T)``, by layer."""
        found = dict[str, tuple[float, float]]()
        for layer in self._layers:
            known, metric = self._statistics.get(layer.key), self._metric.get(layer.key)
            if known is not None and metric is not None and metric.shape[:2] == known.weight.shape[:2]:
                matrix = through_norm(self._graph, layer, known.weight)
                parts = (energies(*of) for of in zip(metric, matrix, known.weight, known.moments.h, strict=True))
                own, felt = np.sum([*parts], 0)
                found[layer.key] = (float(own), max(float(felt), 1e-30))
        return found

    @cached_property
    def _weights(self) -> dict[str, float]:
        quotients = dict[str, float]()
        for key, (own, felt) in self._energies.items():
            known = self._statistics[key]
            quotients[key] = felt / max(own * width(known.weight) / known.spread, 1e-30)
        median = float(np.median([*quotients.values()])) if quotients else 1.0
        return {key: math.sqrt(max(1.0, each / median)) for key, each in quotients.items()}


def width(matrix: Array) -> float:
    """``sqrt(o)``: wide layers count more (measured on ResNet-20, 86.7 % at half its MACs against 85.0 without and 86.6
    with ``o``, and fewer parameters than with that).
    """
    return math.sqrt(matrix.shape[0] * matrix.shape[1])


def through_norm(graph: Graph, layer: Layer, weight: Array) -> Array:
    """``M`` (g, o, p): the weights, times the scale of the BatchNorm behind them."""
    scale = norm_scale(layer.around.norm, reader(graph))
    return weight if scale is None else np.asarray(weight * per_row(scale[0], weight.shape[:2])[..., None])


def energies(metric: Array, matrix: Array, weight: Array, h: Array) -> tuple[float, float]:
    """``tr(M H M^T)``, ``M`` a matrix whose rows are those of ``W`` times something, and ``tr(G W H W^T)``."""
    wh = product(weight, h)
    own = np.einsum("op,op->o", wh, weight)
    squares = np.einsum("op,op->o", weight, weight)
    rows = np.einsum("op,op->o", matrix, matrix) / np.where(squares > 0, squares, 1)
    return float((own * rows).sum()), float((metric * product(wh, weight.T)).sum())
