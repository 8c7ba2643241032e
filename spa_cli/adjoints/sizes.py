"""What is known of sizes: which are the same however the free dimensions of the inputs are chosen."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from spa_cli.adjoints.emitter import NoAdjoint
from spa_cli.graph.model import Array, Graph
from spa_cli.graph.shapes import Shape, Shapes, constant, interpret
from spa_cli.runtime.inputs import input_dims

# sizes at two choices of the free dimensions, None: unknown
Pair = tuple[int | None, int | None]


def filled(shape: Shape) -> tuple[int, ...]:
    """The same with one for what is not known; what is empty stays empty."""
    return tuple(1 if size is None else size for size in shape)


class Sizes:
    """Sizes of the tensors of a graph, at the shapes it was analysed at and at others."""

    def __init__(self, graph: Graph, shapes: Shapes) -> None:
        self._graph, self._shapes = graph, shapes

    def dtype(self, name: str) -> int:
        """Type of a tensor's elements; float where it is not known."""
        return self._shapes.dtype.get(name, 1)

    def rank(self, name: str) -> int:
        """Number of axes; raises NoAdjoint if it is not known."""
        return len(self._shape(name))

    @property
    def ranks(self) -> dict[str, int]:
        """Ranks of the tensors that have a known one."""
        return {name: len(shape) for name, shape in self._shapes.shape.items()}

    def _shape(self, name: str) -> Shape:
        shape = self._shapes.shape.get(name)
        if shape is None:
            raise NoAdjoint(f"the shape of '{name}' is not known")
        return shape

    def pairs(self, name: str) -> list[Pair]:
        """Of each axis its size at two choices of the free dimensions."""
        here = self._shape(name)
        if name in self._graph.parameters or self._elsewhere is None:
            return [(d, d) for d in here]
        there = self._elsewhere.shape.get(name)
        if there is None or len(there) != len(here):
            return [(d, None) for d in here]
        # an empty cache is not always empty
        return [(a, b if a else None) for a, b in zip(here, there, strict=True)]

    def fixed(self, name: str) -> list[int | None]:
        """Of each axis its size if it is always that, or None."""
        return [a if a == b else None for a, b in self.pairs(name)]

    def here(self, name: str, axis: int) -> int:
        """A size that is always the same; raises NoAdjoint if it is not."""
        size = self.fixed(name)[axis]
        if size is None:
            raise NoAdjoint(f"the size of axis {axis} of '{name}' varies")
        return size

    def value(self, name: str) -> Array | None:
        """The value of a tensor if it is small and always the same."""
        if name in self._graph.parameters:
            return constant(self._graph, self._shapes, name)
        value = self._shapes.value.get(name)
        if value is None or self._elsewhere is None:
            return value
        there = self._elsewhere.value.get(name)
        return value if there is not None and np.array_equal(value, there) else None

    def known(self, name: str, what: str) -> Array:
        """The value of a tensor; raises NoAdjoint if it is not always the same."""
        value = self.value(name)
        if value is None:
            raise NoAdjoint(f"its {what} are computed")
        return value

    def array(self, name: str) -> Array | None:
        """The values of a parameter of any size."""
        return self._graph.array(name) if name in self._graph.parameters else None

    @cached_property
    def _elsewhere(self) -> Shapes | None:
        """Shapes with every free dimension of another size; ``None`` if there is none.

        Twice as large, so that sums of sizes stay such (a mask is as long as what went before and what is new): what is
        empty is empty here, too.
        """
        other: dict[str, tuple[int, ...]] = {}
        differ = False
        for name, info in self._graph.inputs.items():
            shape, dims = self._shapes.shape.get(name), input_dims(info)
            if shape is None or dims is None or len(dims) != len(shape):
                continue
            other[name] = tuple(
                size if isinstance(dim, int) or not size else size + 1 if at == 0 else 2 * size
                for at, (dim, size) in enumerate(zip(dims, filled(shape), strict=True))
            )
            differ |= other[name] != shape
        return interpret(self._graph, other, rules=self._shapes.rules) if differ else None
