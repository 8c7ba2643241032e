"""Index labels of a sum of products, as in Einstein's convention: ``mk,kn->mn`` is a matrix product.

A label is one index; the product is summed over those that the result lacks. An axis is written as its label, or as
several: ``"g m"`` has the ``m`` outputs of each of ``g`` groups one after the other, and along ``"s+k"`` the element
at position ``s`` plus tap ``k`` is read, or added to. A grouped convolution is

    y[n, (g m), s]  =  sum over c, k of  x[n, (g c), s+k] * w[(g m), c, k].

What the operator costs, which axes of a weight are its inputs and which its outputs, and the weight as a matrix all
follow from the labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spa_cli.graph.model import Array

# the axes of one tensor
Term = tuple[str, ...]


def axis_of(axes: Sequence[str], label: str) -> int:
    """Which axis has a label."""
    return next(i for i, axis in enumerate(axes) if label in factors([axis]))


def factors(axes: Sequence[str]) -> list[str]:
    """The single labels on axes: ``("n", "g c", "s+k")`` has n, g, c, s, k."""
    return [label for axis in axes for label in axis.replace("+", " ").split()]


@dataclass(frozen=True)
class Labels:
    """The axes of what is multiplied, and of the result."""

    terms: tuple[Term, ...]
    result: Term

    @property
    def windows(self) -> list[str]:
        """Labels of axes along which windows slide: positions and taps."""
        return factors([axis for axes in (*self.terms, self.result) for axis in axes if "+" in axis])

    def sizes(self, shapes: Sequence[Sequence[int]]) -> dict[str, int]:
        """How far every label runs; ``shapes`` of the terms, then of the result if it has one."""
        found: dict[str, int] = {}
        several: list[tuple[list[str], int]] = []
        for axes, shape in zip((*self.terms, self.result), shapes, strict=False):
            for axis, size in zip(axes, shape, strict=False):
                if " " in axis:
                    several.append((axis.split(), size))
                elif "+" not in axis and found.get(axis, 1) == 1:  # an axis of one is broadcast
                    found[axis] = size
        for labels, size in (*several, *several):
            missing = [label for label in labels if label not in found]
            if len(missing) == 1:
                found[missing[0]] = size // max(math.prod(found[k] for k in labels if k in found), 1)
        return found

    def made_along(self, operand: int) -> list[int]:
        """Axes of an operand along which it makes channels: what no other has, the taps of a window aside."""
        others = factors([axis for at, axes in enumerate(self.terms) if at != operand for axis in axes])
        known = {*others, *self.windows}
        return [i for i, axis in enumerate(self.terms[operand]) if not known.issuperset(factors([axis]))]

    def seen_from(self, weight: int, shape: Sequence[int], given: Sequence[int | None]) -> Contraction | None:
        """One of two operands as the weight, of that ``shape``, the other, ``given``, as the input.

        ``None`` if the output is no linear map of the input, position by position.
        """
        x, w, y = self.terms[1 - weight], self.terms[weight], self.result
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


@dataclass(frozen=True)
class Contraction:
    """Axes of input, weight and output.

    ``bti,io->bto`` is a linear layer, ``bhti,hio->bhto`` one matrix per head. A label that the weight shares with input
    and output numbers independent problems (``groups``), one that only input and weight have is contracted (``inner``),
    one that the input lacks is an output (``outer``), one that the weight lacks is a position (``places``).
    """

    x: Term
    w: Term
    y: Term

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
