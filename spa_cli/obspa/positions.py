"""Which positions of a layer are looked at: all, some at random, or rather those that the network's outputs feel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from zlib import crc32

import numpy as np

from spa_cli.graph.model import Array
from spa_cli.obspa.layers import Layer


class Positions:
    """Draws positions: of a layer and a chunk of samples others each time, whatever is asked of others in between.

    ``chances``: of some layers, by key and chunk, (n, positions) (``Sensitivity``). ``use``: what they are drawn for.
    ``asked``: how often, by layer and chunk.
    """

    def __init__(self, seed: int, chances: Mapping[str, Sequence[Array]] | None = None, use: int = 0) -> None:
        self._seed, self._chances, self._use = seed, chances or {}, use
        self.asked = Counter[str]()

    def of(self, layer: Layer, chunk: int, x: tuple[int, ...], limit: int) -> Array | None:
        """At most ``limit`` positions of each sample in an input of shape ``x``, flat and in order.

        The same of every sample, or (n, limit) its own of each; ``None`` for all of them.
        """
        count = layer.positions(x)
        known = f"{layer.key}/{chunk}"
        rng = np.random.default_rng([self._seed, self._use, crc32(known.encode()), self.asked[known]])
        self.asked[known] += 1
        own = self._chances.get(layer.key)
        if own is not None and own[chunk].shape == (x[0], count):
            return _likely(own[chunk], min(count, limit), rng)
        return None if count <= limit else np.sort(rng.choice(count, limit, replace=False))


def _likely(chances: Array, draws: int, rng: np.random.Generator) -> Array:
    """Systematic draws: a position comes as often as its chance says, to within one."""
    steps = (np.arange(draws) + rng.random()) / draws
    reached = np.cumsum(chances, 1, dtype=np.float64)
    found = [np.searchsorted(line / line[-1], steps) for line in reached]
    return np.asarray(np.minimum(np.stack(found), chances.shape[1] - 1))
