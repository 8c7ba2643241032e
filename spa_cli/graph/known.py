"""What is known of the tensors of a graph before it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from spa_cli.graph.model import Array, Node

Shape = tuple[int | None, ...]
# the value of a tensor by its name, where it is known
Read = Callable[[str], Array | None]
# shapes of a node's outputs (of the first ones at least) from those of its inputs
ShapeRule = Callable[[Node, list[Shape | None]], list[Shape]]
# by (domain, operator): a rule, or the name of the standard operator whose shapes it has
ShapeRules = Mapping[tuple[str, str], ShapeRule | str]
# (shape, element type) by tensor
Observed = Mapping[str, tuple[tuple[int, ...], int]]


@dataclass(eq=False)
class Shapes:
    """What is known of each tensor: ``shape`` (``None`` where data decides a dim), ``dtype``, ``value`` if small.

    ``varying``: which entries of a value depend on the free dimensions of the inputs; at another choice of those,
    ``elsewhere`` has the shapes and ``otherwise`` those values. ``partial``: shapes read off tensors of which data
    decides some dims. ``observed`` and ``rules``: what ``interpret`` was given.
    """

    shape: dict[str, Shape] = field(default_factory=dict)
    dtype: dict[str, int] = field(default_factory=dict)
    value: dict[str, Array] = field(default_factory=dict)
    conflicts: list[tuple[Node, str]] = field(default_factory=list)
    unknown: dict[str, Node] = field(default_factory=dict)
    varying: dict[str, Array] = field(default_factory=dict)
    partial: dict[str, Shape] = field(default_factory=dict)
    elsewhere: dict[str, Shape] = field(default_factory=dict)
    otherwise: dict[str, Array] = field(default_factory=dict)
    observed: Observed = field(default_factory=dict)
    rules: ShapeRules = field(default_factory=dict)

    def compare(self, other: Shapes) -> None:
        """Mark which entries of known values differ at another choice of the free dimensions."""
        self.elsewhere = other.shape
        for name, value in self.value.items():
            again = other.value.get(name)
            if again is value:
                continue
            if again is None or again.shape != value.shape:
                self.varying[name] = np.ones(value.shape, bool)
            elif not np.array_equal(value, again):
                self.varying[name] = np.asarray(value != again)
            if name in self.varying and again is not None:
                self.otherwise[name] = again

    def fixed(self, name: str, axis: int) -> int | None:
        """Size of an axis that does not depend on the free dimensions of the inputs, ``None`` if it may."""
        own = self.shape.get(name)
        other = self.elsewhere.get(name) if self.elsewhere else own
        if own is None or other is None or len(own) != len(other) or own[axis] != other[axis]:
            return None
        return own[axis]
