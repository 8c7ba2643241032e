"""Index labels of a sum of products, as in Einstein's convention: ``mk,kn->mn`` is a matrix product.

A label is one index, and what the result lacks is summed over. The notation is that of ``numpy.einsum`` and says a
little more: an axis may hold several indices, ``(gm)`` the m outputs of each of g groups, one after the other; along
``(s+k)`` lies what position s and tap k of a window meet; ``*`` stands for as many axes as there are, each with labels
of its own, ``...`` for as many that are broadcast. A grouped convolution of any rank,

    y[n, (g m), s]  =  sum over c, k of  x[n, (g c), s + k]  w[(g m), c, k],

is ``n(gc)(s+k)*,(gm)ck*->n(gm)s*``. What an operator costs, how it couples channels, along which axes a weight reads
and makes them, and which matrix it is (``contraction.py``): all of it follows from the labels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from spa_cli.channels.state import Decline

# one text per axis: its labels, with a blank between several, a "+" between position and tap
Axes = tuple[str, ...]
_AXIS = re.compile(r"(\.{3}|\w|\([^)]+\))(\*?)")


@dataclass(frozen=True)
class Labels:
    """The axes of what is multiplied, and of the result."""

    terms: tuple[Axes, ...]
    result: Axes

    @property
    def windows(self) -> list[str]:
        """Positions and taps of windows that slide."""
        return factors(axis for axes in (*self.terms, self.result) for axis in axes if "+" in axis)

    def output_axes(self, operand: int) -> list[int]:
        """Axes of an operand along which it makes channels: what no other has, the taps of a window aside."""
        others = factors(axis for at, axes in enumerate(self.terms) if at != operand for axis in axes)
        known = {*others, *self.windows}
        return [i for i, axis in enumerate(self.terms[operand]) if not known.issuperset(factors([axis]))]


def factors(axes: Iterable[str]) -> list[str]:
    """The single labels on axes: ``("n", "g c", "s+k")`` has n, g, c, s, k."""
    return [label for axis in axes for label in axis.replace("+", " ").split()]


def axis_of(axes: Axes, label: str) -> int:
    """Which axis has a label."""
    return next(i for i, axis in enumerate(axes) if label in factors([axis]))


@lru_cache(maxsize=1024)
def parse(equation: str, ranks: tuple[int, ...]) -> Labels:
    """Labels of operands of these ranks; without ``->`` the result has those that occur once, in alphabetical order.

    Raises Decline for what is no equation of so many operands.
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    if any(_AXIS.sub("", text) for text in (*left.split(","), right)) or left.count(",") + 1 != len(ranks):
        raise Decline(f"'{equation}' is no equation of {len(ranks)} operands")
    terms, most = [], 0
    for text, rank in zip(left.split(","), ranks, strict=True):
        found = _AXIS.findall(text)
        several = sum(axis == "..." or star == "*" for axis, star in found)
        spare = rank - len(found) + several if several else 0
        most = max(most, spare)
        terms.append(_axes(text, spare))
    if not arrow:
        every = [axis for axes in terms for axis in axes]
        right = ("..." if most else "") + "".join(sorted(x for x in set(every) if x.isalpha() and every.count(x) == 1))
    return Labels(tuple(terms), _axes(right, most))


def _axes(text: str, spare: int) -> Axes:
    """What ``...`` and ``*`` stand for takes ``spare`` axes; broadcast ones are numbered from the end."""
    found: list[str] = []
    for axis, star in _AXIS.findall(text):
        inside = axis.strip("()")
        if axis == "...":
            found += [f".{i}" for i in range(-spare, 0)]
        elif star:
            found += ["+".join(f"{label}{i}" for label in inside.split("+")) for i in range(spare)]
        else:
            found.append(inside if "+" in inside else " ".join(inside))
    return tuple(found)


@lru_cache(maxsize=1024)
def cover(labels: Labels) -> tuple[tuple[int, int], ...]:
    """Axes (tensor, axis) that have every label once: the product of their sizes counts all combinations of labels.

    The tensors are the terms, then the result. The result is asked first, as axes that are broadcast are whole there.
    Of a transposed convolution no axis of the result has the positions alone (windows are added up there): there the
    terms are asked.
    """
    tensors, last = (*labels.terms, labels.result), len(labels.terms)
    for order in ((last, *range(last)), range(last)):
        found, missing = list[tuple[int, int]](), {*factors(axis for axes in labels.terms for axis in axes)}
        for tensor in order:
            for axis, text in enumerate(tensors[tensor]):
                here = {*factors([text])}
                if "+" not in text and here <= missing:
                    missing -= here
                    found.append((tensor, axis))
        if not missing:
            break
    return tuple(found)
