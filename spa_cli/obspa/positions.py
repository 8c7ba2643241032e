"""Which positions of a layer are looked at: all, some at random, or rather those that the network's outputs feel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spa_cli.graph.model import Array
from spa_cli.obspa.layers import Layer


class Positions:
    """Draws positions. ``chances``: of some layers, by key and chunk of samples, (n, positions) (``Sensitivity``)."""

    def __init__(self, seed: int, chances: Mapping[str, Sequence[Array]] | None = None) -> None:
        self._rng, self._chances = np.random.default_rng(seed), chances or {}

    @property
    def state(self) -> dict[str, Any]:
        """How far its draws have come."""
        return dict(self._rng.bit_generator.state)

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        self._rng.bit_generator.state = state

    def of(self, layer: Layer, chunk: int, x: tuple[int, ...], limit: int) -> Array | None:
        """At most ``limit`` positions of each sample in an input of shape ``x``, flat and in order.

        The same of every sample, or (n, limit) its own of each; ``None`` for all of them.
        """
        count = layer.positions(x)
        own = self._chances.get(layer.key)
        if own is not None and own[chunk].shape == (x[0], count):
            return self._likely(own[chunk], min(count, limit))
        return None if count <= limit else np.sort(self._rng.choice(count, limit, replace=False))

    def _likely(self, chances: Array, draws: int) -> Array:
        """Systematic draws: a position comes as often as its chance says, to within one."""
        steps = (np.arange(draws) + self._rng.random()) / draws
        reached = np.cumsum(chances, 1, dtype=np.float64)
        found = [np.searchsorted(line / line[-1], steps) for line in reached]
        return np.asarray(np.minimum(np.stack(found), chances.shape[1] - 1))
