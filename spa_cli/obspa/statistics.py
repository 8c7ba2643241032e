"""Statistics of the dense network, layer by layer: what OBSPA ranks and weighs by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from spa_cli.graph.known import Read
from spa_cli.graph.model import Array, Graph
from spa_cli.obspa.moments import Moments
from spa_cli.runtime.store import Store


@dataclass
class Statistics:
    """Of one layer: moments of its input, variance (summed over channels) of its target, energy per output channel.

    ``matrix``: reads its ``W`` of that ``size`` (g, o, p), which is an operand of that ``shape``. ``hidden``: moments
    of a recurrent layer's units, (directions, h, h).
    """

    matrix: Callable[[], Array]
    size: tuple[int, ...]
    shape: tuple[int, ...]
    moments: Moments
    spread: float
    energy: Array
    hidden: Moments | None = None

    @property
    def weight(self) -> Array:
        """``W``, read anew: of a large network those of all layers are more than fits."""
        return self.matrix()

    @property
    def finite(self) -> bool:
        """Whether all of it are numbers: squares of large activations are more than single precision holds."""
        units = np.zeros(0) if self.hidden is None else self.hidden.h
        return all(np.isfinite(v).all() for v in (self.moments.h, self.energy, self.spread, units))

    def packed(self) -> dict[str, Array]:
        """What was measured, as arrays."""
        units = {} if self.hidden is None else {f"units/{k}": v for k, v in self.hidden.packed().items()}
        return {**self.moments.packed(), **units, "spread": np.array(self.spread), "energy": self.energy}

    @staticmethod
    def unpacked(
        arrays: Mapping[str, Array],
        matrix: Callable[[], Array],
        size: tuple[int, ...],
        shape: tuple[int, ...],
        store: Store,
    ) -> Statistics:
        """What was ``packed``, of a layer with this weight; moments are kept in ``store``."""
        units = {k.removeprefix("units/"): v for k, v in arrays.items() if k.startswith("units/")}
        hidden = Moments.unpacked(units, store) if units else None
        moments = Moments.unpacked(arrays, store)
        return Statistics(matrix, size, shape, moments, float(arrays["spread"]), arrays["energy"], hidden)


def reader(graph: Graph) -> Read:
    """Reads a parameter of the dense graph by name, ``None`` if there is none."""
    return lambda name: graph.array(name) if name in graph.parameters else None
