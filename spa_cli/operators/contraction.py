"""Any product of an activation with a constant, as labels of axes: Gemm, MatMul (either side, batched), Einsum.

``bti,io->bto`` is a linear layer, ``bhti,hio->bhto`` one matrix per head. A label that the weight shares with input and
output numbers independent problems (``groups``), one that only input and weight have is contracted (``inner``), one
that only the weight has is an output channel (``outer``), one that only the input has is a position (``places``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from spa_cli.graph.model import Array, Node
from spa_cli.operators.matmul import parse_equation


@dataclass(frozen=True)
class Contraction:
    """Labels of the axes of input, weight and output."""

    x: tuple[str, ...]
    w: tuple[str, ...]
    y: tuple[str, ...]

    @property
    def groups(self) -> list[str]:
        """Shared by all three."""
        return [label for label in self.w if label in self.x and label in self.y]

    @property
    def inner(self) -> list[str]:
        """Contracted."""
        return [label for label in self.w if label in self.x and label not in self.y]

    @property
    def outer(self) -> list[str]:
        """Output channels."""
        return [label for label in self.w if label not in self.x]

    @property
    def places(self) -> list[str]:
        """Positions; samples first."""
        return [label for label in self.x if label not in self.w]

    @property
    def valid(self) -> bool:
        """Whether nothing but ``inner`` is summed over."""
        distinct = all(len(set(t)) == len(t) for t in (self.x, self.w, self.y))
        return distinct and bool(self.inner) and all(label in self.y for label in self.places)

    def matrix(self, weight: Array) -> Array:
        """(g, o, p)."""
        order = [*self.groups, *self.outer, *self.inner]
        arranged = weight.transpose([self.w.index(label) for label in order])
        g, o = len(self.groups), len(self.outer)
        shape = arranged.shape
        return arranged.reshape(math.prod(shape[:g]), math.prod(shape[g : g + o]), math.prod(shape[g + o :]))

    def restore(self, matrix: Array, shape: tuple[int, ...]) -> Array:
        """The weight of that ``shape`` whose ``matrix`` this is."""
        order = [self.w.index(label) for label in (*self.groups, *self.outer, *self.inner)]
        return matrix.reshape([shape[i] for i in order]).transpose(np.argsort(order))

    def rows(self, value: Array, last: bool) -> Array:
        """Input (``last`` = its inner axes) or output (its outer axes) as (g, samples, positions, channels)."""
        arranged = value.transpose(self._order(last))
        g, n = len(self.groups), len(self.places)
        shape = arranged.shape
        samples = shape[g] if n else 1
        places = math.prod(shape[g + 1 : g + n])
        return arranged.reshape(math.prod(shape[:g]), samples, places, math.prod(shape[g + n :]))

    def spread(self, rows: Array, shape: tuple[int, ...]) -> Array:
        """The output of that ``shape`` whose ``rows`` these are."""
        order = self._order(False)
        return rows.reshape([shape[i] for i in order]).transpose(np.argsort(order))

    def _order(self, last: bool) -> list[int]:
        labels = list(self.x if last else self.y)
        channels = self.inner if last else [label for label in self.outer if label in self.y]
        order = [*self.groups, *self.places, *channels]
        return [labels.index(label) for label in (*order, *(label for label in labels if label not in order))]


def find_contraction(
    node: Node, weight_at: int, given: tuple[int | None, ...], sizes: tuple[int, ...]
) -> Contraction | None:
    """Labels for a node whose input ``weight_at`` is the constant of shape ``sizes``, the other of shape ``given``."""
    ranks = (len(sizes), len(given)) if weight_at == 0 else (len(given), len(sizes))
    if node.attr("transBatchA", 0) or node.attr("transBatchB", 0):
        return None
    if node.op in ("Gemm", "FusedGemm"):
        a = ("k", "m") if node.attr("transA", 0) else ("m", "k")
        b = ("n", "k") if node.attr("transB", 0) else ("k", "n")
        terms, y = [list(a), list(b)], ["m", "n"]
    elif node.op in ("MatMul", "FusedMatMul", "MatMulInteger"):
        terms, y = _matmul(node, ranks)
    elif node.op == "Einsum" and len(node.inputs) == 2:
        terms, y = parse_equation(str(node.attr("equation", "")), list(ranks))
    else:
        return None
    w, x = terms[weight_at], terms[1 - weight_at]
    # an axis of one is broadcast: it numbers no problems
    w = [
        f"1{i}" if size == 1 and label in y and label in x else label
        for i, (label, size) in enumerate(zip(w, sizes, strict=True))
    ]
    # nor does one along which the input is broadcast
    repeated = any(
        size == 1 and label in w and sizes[w.index(label)] != 1 for label, size in zip(x, given, strict=True)
    )
    if repeated:
        return None
    found = Contraction(tuple(x), tuple(w), tuple(y))
    return found if found.valid else None


def _matmul(node: Node, ranks: tuple[int, int]) -> tuple[list[list[str]], list[str]]:
    ends = [["m", "k"], ["k", "n"]]
    for at, flag in enumerate(("transA", "transB")):
        if node.attr(flag, 0):
            ends[at] = ends[at][::-1]
    ends = [e if rank > 1 else ["k"] for e, rank in zip(ends, ranks, strict=True)]
    leads = [[f".{i}" for i in range(-rank + 2, 0)] for rank in ranks]
    y = max(leads, key=len) + [label for label in (*ends[0], *ends[1]) if label != "k"]
    return [leads[0] + ends[0], leads[1] + ends[1]], y
