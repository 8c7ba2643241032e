"""Operators that are sums of products: what their records say beside the labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from spa_cli.graph.model import Node
from spa_cli.graph.shapes import Shape
from spa_cli.operators.labels import Labels, cover, parse

# the labels of a node, where its attributes or the ranks of its operands decide; see labels.py for the notation
Equation = Callable[[Node, Sequence[int]], str]
ShapeOf = Callable[[str], tuple[int, ...]]


@dataclass(frozen=True)
class Scales:
    """Inputs with the scales and zero points of what a product of integers takes and gives; the zero point last."""

    a: tuple[int, ...] = ()
    b: tuple[int, ...] = ()
    y: tuple[int, ...] = ()


@dataclass(frozen=True)
class Contracts:
    """A sum of products: how its axes are labelled, and which inputs are what (-1: none is).

    ``operands``: the inputs that are multiplied (empty: all). ``bias`` is added per output channel, ``added`` has the
    shape of the result. ``scales``: of integers. ``fitted``: which operands OBSPA may fit by least squares (it takes
    the first that is constant); none where the result is rounded or mixed with more than a bias (requantised
    integers). ``windows``: whether they slide over space. A recurrent layer multiplies its last result by the input
    ``recurrence``.
    """

    equation: str | Equation
    operands: tuple[int, ...] = (0, 1)
    bias: int = -1
    added: int = -1
    scales: Scales | None = None
    fitted: tuple[int, ...] = ()
    windows: bool = False
    recurrence: int = -1

    def inputs(self, node: Node) -> list[str]:
        """Names of what is multiplied."""
        return [node.inputs[i] for i in self.operands] if self.operands else list(node.inputs)

    def labels(self, node: Node, ranks: Sequence[int]) -> Labels:
        """Labels of the axes of a node whose operands have these ranks."""
        text = self.equation if isinstance(self.equation, str) else self.equation(node, ranks)
        return parse(text, tuple(ranks))

    def slides(self, node: Node) -> bool:
        """Whether windows slide over the input (of a transposed convolution they are added up in the output)."""
        return self.windows and bool(self.fitted) and any("+" in axis for axis in self.labels(node, (4, 4)).terms[0])

    def shapes(self, node: Node, given: list[Shape | None]) -> list[Shape]:
        """Shape of the result, where every axis has one label; given those of all inputs."""
        known = [given[i] for i in self.operands] if self.operands else given
        ranks = [len(shape or ()) for shape in known]
        labels, sizes = self.labels(node, ranks), dict[str, int | None]()
        for term, shape in zip(labels.terms, known, strict=True):
            for label, size in zip(term, shape or (), strict=True):
                before = sizes.get(label, 1)
                sizes[label] = size if before == 1 or (before is None and size != 1) else before
        return [tuple(sizes[label] for label in labels.result)]

    def macs(self, node: Node, shape: ShapeOf) -> int:
        """One for every combination of labels, per factor after the first; the bias is not counted."""
        names = self.inputs(node)
        shapes = [shape(name) for name in names]
        labels = self.labels(node, [len(s) for s in shapes])
        if self.recurrence >= 0:
            x, w = labels.terms
            steps = math.prod(size for label, size in zip(x, shapes[0], strict=True) if label not in w)
            return steps * sum(math.prod(shape(weight)) for weight in (names[1], node.inputs[self.recurrence]))
        shapes.append(shape(node.outputs[0]))
        return math.prod(shapes[tensor][axis] for tensor, axis in cover(labels)) * (len(names) - 1)
