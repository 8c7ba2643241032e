"""What made an output: back from it through operators that only move, join or scale numbers."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from spa_cli.graph.guard import guarded
from spa_cli.graph.known import Shapes
from spa_cli.graph.model import Graph, Node

_SAME = frozenset(
    {"Identity", "Cast", "CastLike", "Dropout", "QuantizeLinear", "DequantizeLinear", "Clip", "Pad", "Tile", "Expand"}
)
_SCALED = frozenset({"Add", "Sub", "Mul", "Div"})
LINEAR = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "FusedConv", "FusedGemm", "FusedMatMul", "QGemm"})
_INTEGER = frozenset({"MatMulInteger", "ConvInteger"})
LINEAR |= _INTEGER | {"QLinearConv", "QLinearMatMul", "MatMulNBits"}
# how far back is worth looking
_DEEP = 64
NORMALISED, UNIT = "a normalisation", "division by its length"


@dataclass(frozen=True)
class Part:
    """A stretch of an axis that one operator made.

    ``op``: its name; ``size``: of the stretch, ``None`` if not known. ``axis``: which of the operator's output it is,
    ``None`` where axes were mixed since. ``straight``: nothing was computed since; numbers were only moved.
    """

    op: str
    size: int | None
    axis: int | None
    straight: bool
    node: Node | None = None


def parts(graph: Graph, shapes: Shapes, name: str, axis: int | None) -> list[Part]:
    """What made the tensor ``name``, stretch by stretch along ``axis`` (``None``: wherever)."""
    return _Walk(graph, shapes).back(name, axis, _DEEP)


class _Lost(Exception):
    """A node that is not what its operator is."""


class _Walk:
    def __init__(self, graph: Graph, shapes: Shapes) -> None:
        self._graph, self._shapes = graph, shapes

    def back(self, name: str, axis: int | None, deep: int) -> list[Part]:
        node, size = self._graph.producers.get(name), self._size(name, axis)
        if node is None or not deep:
            return [Part("input", size, axis, True)]
        if node.domain:
            return [Part(node.op, size, axis, True, node)]
        with suppress(_Lost), guarded(node, _Lost):
            found = self._through(node, axis, deep - 1, name)
            if found is not None:
                return found
        return [Part(node.op, size, axis, True, node)]

    def _through(self, node: Node, axis: int | None, deep: int, name: str) -> list[Part] | None:
        """``None`` where the operator itself made it."""
        if node.op in _SAME and self._size(node.inputs[0], axis) == self._size(name, axis):
            return self.back(node.inputs[0], axis, deep)
        own = getattr(self, f"_{node.op.lower()}", None)
        if own is not None:
            found: list[Part] | None = own(node, axis, deep, name)
            if found is not None:
                return found
        return self._scaled(node, axis, deep) if node.op in _SCALED else None

    def _size(self, name: str, axis: int | None) -> int | None:
        shape = self._shapes.shape.get(name)
        return None if shape is None or axis is None or axis >= len(shape) else shape[axis]

    def _rank(self, name: str) -> int | None:
        shape = self._shapes.shape.get(name)
        return None if shape is None else len(shape)

    # -- where axes go ------------------------------------------------------------------------------------------------

    def _transpose(self, node: Node, axis: int | None, deep: int, name: str) -> list[Part] | None:
        rank = self._rank(node.outputs[0])
        if rank is None:
            return None
        order = node.attr("perm", [*range(rank)][::-1])
        return self.back(node.inputs[0], None if axis is None else int(order[axis]), deep)

    def _reshape(self, node: Node, axis: int | None, deep: int, name: str) -> list[Part] | None:
        """An axis is the one of the same size, with as many positions before it."""
        before, after = self._shapes.shape.get(node.inputs[0]), self._shapes.shape.get(node.outputs[0])
        at = None
        if axis is not None and before is not None and after is not None and None not in (*before, *after):
            old, new = [d or 0 for d in before], [d or 0 for d in after]
            same = [k for k, d in enumerate(old) if d == new[axis] and prod(old[:k]) == prod(new[:axis])]
            at = same[0] if same else None
        found = self.back(node.inputs[0], at, deep)
        return found if at is not None else [replace(p, axis=None, size=None) for p in _several(found)]

    _flatten = _squeeze = _unsqueeze = _reshape

    # -- stretches ----------------------------------------------------------------------------------------------------

    def _concat(self, node: Node, axis: int | None, deep: int, name: str) -> list[Part] | None:
        rank = self._rank(node.outputs[0])
        if rank is None:
            return None
        own = node.attr("axis", 1)
        found = [self.back(one, axis, deep) for one in node.inputs if one]
        every = [part for one in found for part in one]
        if axis is None:
            return _several(every)
        return every if axis == own % rank else _merged(found)

    def _slice(self, node: Node, axis: int | None, deep: int, name: str) -> list[Part] | None:
        # operands since opset 10, attributes before
        given = [self._shapes.value.get(node.input(k)) for k in range(1, 5)]
        if given[0] is None or given[1] is None:
            given = [None if v is None else np.array(v) for v in (node.attr("starts"), node.attr("ends"))] + [None] * 2
            given[2] = None if node.attr("axes") is None else np.array(node.attr("axes"))
        whole, size = self._size(node.inputs[0], axis), self._size(node.outputs[0], axis)
        if whole == size:
            return self.back(node.inputs[0], axis, deep)
        rank = self._rank(node.inputs[0])
        if given[0] is None or axis is None or whole is None or size is None or rank is None:
            return None
        axes = [int(a) % rank for a in (range(len(given[0])) if given[2] is None else given[2])]
        if axis not in axes or (given[3] is not None and given[3][axes.index(axis)] != 1):
            return None
        start = int(given[0][axes.index(axis)])
        start = max(start + whole, 0) if start < 0 else start
        return _cut(self.back(node.inputs[0], axis, deep), start, start + size)

    def _split(self, node: Node, axis: int | None, deep: int, name: str) -> list[Part] | None:
        rank = self._rank(node.inputs[0])
        if rank is None or axis is None:
            return None
        found = self.back(node.inputs[0], axis, deep)
        if axis != node.attr("axis", 0) % rank:
            return found
        sizes = [self._size(o, axis) for o in node.outputs]
        at = node.outputs.index(name)
        before = [size for size in sizes[: at + 1] if size is not None]
        return None if len(before) <= at else _cut(found, sum(before[:-1]), sum(before))

    def _gather(self, node: Node, axis: int | None, deep: int, name: str) -> list[Part] | None:
        """Positions that are picked along another axis."""
        rank, index = self._rank(node.inputs[0]), self._rank(node.inputs[1])
        if rank is None or index is None or axis is None:
            return None
        own = node.attr("axis", 0) % rank
        if own <= axis < own + index:
            return None
        return self.back(node.inputs[0], axis if axis < own else axis - index + 1, deep)

    # -- numbers ------------------------------------------------------------------------------------------------------

    def _scaled(self, node: Node, axis: int | None, deep: int) -> list[Part] | None:
        """With a constant: what it is added to or multiplied with; a bias leaves what a layer made its own."""
        data = [name for name in node.inputs if name and not self._constant(name)]
        if len(data) == 2 and node.op in ("Div", "Mul"):
            if kind := self._normalised(node):
                return [Part(kind, self._size(node.outputs[0], axis), axis, True, node)]
            # by a scale that is worked out beside what it scales
            scaled = self.back(data[0], axis, deep)
            return scaled if all(p.op in _INTEGER and p.straight for p in scaled) else None
        if len(data) != 1:
            return None
        ranks = self._rank(data[0]), self._rank(node.outputs[0])
        if None in ranks or self._size(data[0], axis) != self._size(node.outputs[0], axis) or ranks[0] != ranks[1]:
            return None
        found = self.back(data[0], axis, deep)
        if len(found) == 1 and found[0].op in (NORMALISED, UNIT):
            # with a scale and an offset a channel
            return [replace(found[0], op=NORMALISED)]
        bias = node.op == "Add" and all(p.op in LINEAR and p.straight for p in found)
        return found if bias else [replace(p, straight=False) for p in found]

    def _constant(self, name: str) -> bool:
        """Whether no input of the model decides it."""
        if name in self._graph.parameters or name in self._shapes.value:
            return True
        waiting, seen = [name], set[str]()
        while waiting and len(seen) < _DEEP:
            one = waiting.pop()
            if one in self._graph.parameters or one in self._shapes.value or one in seen or not one:
                continue
            node = self._graph.producers.get(one)
            if node is None:
                return False
            seen.add(one)
            # the sizes of a picture are no numbers in it
            waiting += [] if node.op in ("Shape", "Size") else node.inputs
        return not waiting

    def _normalised(self, node: Node) -> str:
        """How a tensor is divided by what is computed from itself: by its length, or its deviation; "" if it isn't."""
        seen: set[str] = set()
        waiting, ops = [node.inputs[1]], set[str]()
        if node.op == "Mul":
            waiting.append(node.inputs[0])
        while waiting and len(seen) < 16:
            name = waiting.pop()
            maker = self._graph.producers.get(name)
            if name in seen or maker is None or maker.op not in _MEASURING:
                continue
            seen.add(name)
            ops.add(maker.op)
            waiting += maker.inputs[:1] if maker.op.startswith("Reduce") else maker.inputs
        divided = node.op == "Div" or ops & {"Reciprocal", "Div", "Rsqrt"}
        if divided and (ops & {"ReduceL2"} or {"Sqrt", "ReduceSum"} <= ops or {"Sqrt", "ReduceSumSquare"} <= ops):
            return UNIT
        return NORMALISED if divided and {"Sqrt", "ReduceMean"} <= ops else ""


_MEASURING = frozenset(
    [
        "ReduceL2",
        "ReduceSum",
        "ReduceSumSquare",
        "ReduceMean",
        "Sqrt",
        "Pow",
        "Add",
        "Clip",
        "Max",
        "Expand",
        "Reciprocal",
        "Div",
        "Cast",
        "Unsqueeze",
    ]
)


def _several(found: list[Part]) -> list[Part]:
    """One of each kind."""
    return list({(p.op, p.straight): replace(p, size=None, axis=None) for p in found}.values())


def _merged(found: list[list[Part]]) -> list[Part] | None:
    """Stretches that several tensors have in common; ``None`` where they are of different lengths."""
    sizes = {tuple(p.size for p in one) for one in found}
    if len(sizes) != 1:
        return None
    return [_common(same) for same in zip(*found, strict=True)]


def _common(same: tuple[Part, ...]) -> Part:
    ops = {p.op for p in same}
    op = same[0].op if len(ops) == 1 else " and ".join(sorted(ops))
    return replace(same[0], op=op, straight=all(p.straight for p in same))


def _cut(found: list[Part], start: int, stop: int) -> list[Part] | None:
    """What stands between."""
    kept, at = [], 0
    if len(_several(found)) == 1:
        # wherever it is cut
        return [replace(found[0], size=stop - start)]
    for part in found:
        if part.size is None:
            return None
        low, high = max(start, at), min(stop, at + part.size)
        if low < high:
            kept.append(replace(part, size=high - low))
        at += part.size
    return kept
