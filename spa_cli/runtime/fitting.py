"""The input shapes at which a graph fits together: the usual ones, or those that its constants imply."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from spa_cli.graph.demands import Demand, Place, demands
from spa_cli.graph.known import Shapes
from spa_cli.graph.model import Graph
from spa_cli.graph.shapes import constant
from spa_cli.runtime.implied import implied
from spa_cli.runtime.sizes import USUAL, Sizes

InputShapes = dict[str, tuple[int, ...]]
# how often sizes are looked for again where what was found is better and not yet well
_TURNS = 3


class Fitting:
    """``shapes``: those at which the least does not fit, the first of them; ``known``: of all tensors, there.

    ``misfits``: how much does not fit even so. ``others``: all else that was thought of, the likeliest first. ``at``:
    input shapes by the sizes of what is free.
    """

    def __init__(
        self,
        graph: Graph,
        at: Callable[[Iterable[Sizes]], Iterator[InputShapes]],
        interpret: Callable[[InputShapes], Shapes],
    ) -> None:
        self._graph, self._at, self._interpret = graph, at, interpret
        self._seen: dict[tuple[tuple[str, tuple[int, ...]], ...], tuple[Shapes, Mapping[Place, Demand]]] = {}
        first, *usual = at(USUAL)
        self.shapes = first
        self.known, asked = self._looked_at(first)
        self.misfits = _misfits(self.known, asked)
        found = list(self._implied())
        for shapes in usual:
            self._try(shapes)
        every = [first, *found, *usual]
        self.others = [s for i, s in enumerate(every) if s != self.shapes and s not in every[:i]]
        self._seen.clear()

    def _try(self, shapes: InputShapes) -> bool:
        """Whether they are better than what was best."""
        if not self.misfits:
            return False
        known, asked = self._looked_at(shapes)
        found = _misfits(known, asked)
        if found >= self.misfits:
            return False
        self.shapes, self.known, self.misfits = shapes, known, found
        return True

    def _implied(self) -> Iterator[InputShapes]:
        base: Sizes | None = USUAL[0]
        for _ in range(_TURNS):
            if base is None or not self.misfits:
                return
            better: Sizes | None = None
            for sizes in implied(lambda sizes: self._looked_at(next(self._at([sizes])))[1], base):
                for shapes in self._at([sizes]):
                    yield shapes
                    if self._try(shapes):
                        better = sizes
                if not self.misfits:
                    return
            base = better

    def _looked_at(self, shapes: InputShapes) -> tuple[Shapes, Mapping[Place, Demand]]:
        """What is known of all tensors at these shapes, and what nodes ask for there; each is worked out once."""
        key = tuple(shapes.items())
        if key not in self._seen:
            known = self._interpret(shapes)
            self._seen[key] = known, demands(self._graph, known, lambda name: constant(self._graph, known, name))
        return self._seen[key]


def _misfits(known: Shapes, asked: Mapping[Place, Demand]) -> int:
    return len(known.conflicts) + sum(not demand.met for demand in asked.values())
