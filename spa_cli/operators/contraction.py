"""A sum of products with one of its two operands as the weight: which axes are what, and the weight as a matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spa_cli.graph.model import Array
from spa_cli.operators.labels import Axes, Labels, factors


@dataclass(frozen=True)
class Contraction:
    """Axes of input, weight and output.

    ``bti,io->bto`` is a linear layer, ``bhti,hio->bhto`` one matrix per head. A label that the weight shares with input
    and output numbers independent problems (``groups``), one that only input and weight have is contracted (``inner``),
    one that the input lacks is an output (``outer``), one that the weight lacks is a position (``places``).
    """

    x: Axes
    w: Axes
    y: Axes

    @property
    def groups(self) -> list[str]:
        """Shared by all three."""
        x, y = factors(self.x), factors(self.y)
        return [label for label in factors(self.w) if label in x and label in y]

    @property
    def inner(self) -> list[str]:
        """Contracted."""
        x, y = factors(self.x), factors(self.y)
        return [label for label in factors(self.w) if label in x and label not in y]

    @property
    def outer(self) -> list[str]:
        """Outputs; of a transposed convolution one for every tap, before its windows are added."""
        x = factors(self.x)
        return [label for label in factors(self.w) if label not in x]

    @property
    def places(self) -> list[str]:
        """Positions; samples first."""
        w = factors(self.w)
        return [label for label in factors(self.x) if label not in w]

    @property
    def taps(self) -> list[str]:
        """What a window consists of."""
        return [label for axis in (*self.x, *self.y) if "+" in axis for label in factors([axis]) if label in self.w]

    @property
    def slides(self) -> bool:
        """Whether a window slides over the input: a convolution."""
        return any("+" in axis for axis in self.x)

    @property
    def overlaps(self) -> bool:
        """Whether windows are added up in the output: a transposed convolution."""
        return any("+" in axis for axis in self.y)

    @property
    def valid(self) -> bool:
        """Whether nothing but ``inner`` is summed over."""
        distinct = all(len(set(axes)) == len(axes) for axes in map(factors, (self.x, self.w, self.y)))
        return distinct and bool(self.inner) and all(label in factors(self.y) for label in self.places)

    @property
    def inputs(self) -> list[int]:
        """Axes of the weight along which channels are read."""
        read = {*self.inner} - {*self.taps}
        return [i for i, axis in enumerate(self.w) if read & {*factors([axis])}]

    @property
    def channels(self) -> int | None:
        """The axis of the output on which its channels are, all of them and nothing else; ``None`` if there is none."""
        made = ({*self.groups, *self.outer} - {*self.taps}) & {*factors(self.y)}
        having = [i for i, axis in enumerate(self.y) if made & {*factors([axis])}]
        return having[0] if len(having) == 1 and made == {*factors([self.y[having[0]]])} else None

    def count(self, x: Sequence[int], w: Sequence[int]) -> int:
        """How many groups there are, for these shapes of input and weight; 0 where they can't tell."""
        sizes = dict(zip(self.w, w, strict=True))
        for axis, size in zip(self.x, x, strict=False):
            label, *inside = axis.split()
            if inside and inside[0] in sizes:
                sizes[label] = size // sizes[inside[0]]
        return math.prod(sizes.get(label, 0) for label in self.groups)

    # -- the weight as matrices (g, o, p): one per group, its rows are outputs, its columns inputs -------------------

    def matrix(self, weight: Array, groups: int = 1) -> Array:
        """(g, o, p); ``groups`` is the size of g where it shares an axis."""
        sizes = self._sizes(weight.shape, groups)
        order = [*self.groups, *self.outer, *self.inner]
        arranged = weight.reshape([*sizes.values()]).transpose([[*sizes].index(label) for label in order])
        return arranged.reshape([math.prod(sizes[k] for k in part) for part in (self.groups, self.outer, self.inner)])

    def restore(self, matrix: Array, shape: tuple[int, ...]) -> Array:
        """The weight of that ``shape`` whose ``matrix`` this is."""
        sizes = self._sizes(shape, len(matrix))
        order = [*self.groups, *self.outer, *self.inner]
        arranged = matrix.reshape([sizes[label] for label in order])
        return arranged.transpose([order.index(label) for label in sizes]).reshape(shape)

    def _sizes(self, shape: tuple[int, ...], groups: int) -> dict[str, int]:
        """Sizes of the weight's labels, in their order."""
        found: dict[str, int] = {}
        for axis, size in zip(self.w, shape, strict=True):
            labels = factors([axis])
            found |= {labels[0]: size} if len(labels) == 1 else {labels[0]: groups, labels[1]: size // groups}
        return found

    # -- values as rows, of axes with one label each ------------------------------------------------------------------

    def rows(self, value: Array, last: bool) -> Array:
        """Input (``last`` = its inner axes) or output (its outer axes) as (g, samples, positions, channels)."""
        arranged = value.transpose(self._order(last))
        g, n = len(self.groups), len(self.places)
        shape = arranged.shape
        samples = shape[g] if n else 1
        positions = math.prod(shape[g + 1 : g + n]) if n else 1
        return arranged.reshape(math.prod(shape[:g]), samples, positions, math.prod(shape[g + n :]))

    def spread(self, rows: Array, shape: tuple[int, ...]) -> Array:
        """The output of that ``shape`` whose ``rows`` these are."""
        order = self._order(False)
        return rows.reshape([shape[i] for i in order]).transpose(np.argsort(order))

    def _order(self, last: bool) -> list[int]:
        labels = list(self.x if last else self.y)
        channels = self.inner if last else [label for label in self.outer if label in self.y]
        order = [*self.groups, *self.places, *channels]
        return [labels.index(label) for label in (*order, *(label for label in labels if label not in order))]


def seen_from(labels: Labels, weight: int, shape: Sequence[int], given: Sequence[int | None]) -> Contraction | None:
    """One of two operands as the weight, of that ``shape``, the other, ``given``, as the input.

    ``None`` if the output is no linear map of the input, position by position.
    """
    x, w, y = labels.terms[1 - weight], labels.terms[weight], labels.result
    if len(x) != len(given) or len(w) != len(shape):
        return None
    # along an axis of one the weight is the same for all: it numbers no problems
    w = tuple(
        f"1{i}" if size == 1 and label in y and label in x else label
        for i, (label, size) in enumerate(zip(w, shape, strict=True))
    )
    sizes = dict(zip(w, shape, strict=True))
    repeated = any(size == 1 and sizes.get(label, 1) != 1 for label, size in zip(x, given, strict=True))
    found = Contraction(x, w, y)
    return found if found.valid and not repeated else None
