"""What nodes ask of the sizes of their inputs: which have to be the same, so that it can be told what would fit.

ONNX's own inference says that something does not fit, of some operators only, and not by how much.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from spa_cli.graph.guard import guarded
from spa_cli.graph.known import Shape, Shapes
from spa_cli.graph.model import Array, Graph, Node

_BROADCASTING = re.findall(
    r"\w+",
    "Add And BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mod Mul Or "
    "PRelu Pow Sub Sum Where Xor",
)
# what is more is no size
_LARGEST = 1 << 62
# (tensor, which of the demands of its node it is)
Place = tuple[str, str]
_Pair = tuple[str, int | None, int | None]


@dataclass(frozen=True)
class Demand:
    """A size, or a number of elements, that is there, and the one that is asked for; a ``multiple`` of it will do."""

    there: int
    asked: int
    multiple: bool = False

    @property
    def met(self) -> bool:
        """Whether they fit."""
        return self.there == self.asked or (self.multiple and self.asked > 0 and self.there % self.asked == 0)


def demands(graph: Graph, known: Shapes, read: Callable[[str], Array | None]) -> dict[Place, Demand]:
    """All that is known of what the nodes of ``graph`` ask; ``read`` gives values of tensors that say sizes."""
    found: dict[Place, Demand] = {}
    for node in graph.all_nodes:
        if node.domain or not node.outputs or node.op not in _ASKING:
            continue
        shapes = [known.shape.get(name) if name else None for name in node.inputs]
        with suppress(_Lost), guarded(node, _Lost):
            for slot, there, asked in _ASKING[node.op](node, shapes, read):
                if there is not None and asked is not None and max(there, asked) <= _LARGEST:
                    found[node.outputs[0], slot] = Demand(there, asked, slot == "multiple")
    return found


class _Lost(Exception):
    """A malformed node asks for nothing."""


# -- by operator: (slot, size that is there, size that is asked for) ---------------------------------------------------


def _broadcast(node: Node, shapes: Sequence[Shape | None], read: Callable[[str], Array | None]) -> Iterator[_Pair]:
    yield from _aligned([s for s in shapes if s is not None])


def _aligned(shapes: Sequence[Shape]) -> Iterator[_Pair]:
    """From the last axis on, all sizes but 1 are the same."""
    for at in range(1, max(map(len, shapes), default=0) + 1):
        first, *others = [s[-at] for s in shapes if len(s) >= at and s[-at] != 1] or [None]
        yield from ((f"-{at} {number}", first, other) for number, other in enumerate(others))


def _expand(node: Node, shapes: Sequence[Shape | None], read: Callable[[str], Array | None]) -> Iterator[_Pair]:
    target = read(node.input(1))
    if shapes[0] is not None and target is not None and target.ndim == 1:
        yield from _aligned([shapes[0], tuple(map(int, target))])


def _matmul(node: Node, shapes: Sequence[Shape | None], read: Callable[[str], Array | None]) -> Iterator[_Pair]:
    a, b = shapes[0], shapes[1]
    if a and b:
        yield "inner", a[-1], b[-2] if len(b) > 1 else b[0]
        yield from _aligned([a[:-2], b[:-2]])


def _gemm(node: Node, shapes: Sequence[Shape | None], read: Callable[[str], Array | None]) -> Iterator[_Pair]:
    a, b = shapes[0], shapes[1]
    if a and b and len(a) == len(b) == 2:
        yield "inner", a[0 if node.attr("transA", 0) else 1], b[1 if node.attr("transB", 0) else 0]


def _conv(node: Node, shapes: Sequence[Shape | None], read: Callable[[str], Array | None]) -> Iterator[_Pair]:
    x, w = shapes[0], shapes[1]
    if x and w and min(len(x), len(w)) > 2 and w[1] is not None:
        yield "channels", x[1], w[1] * int(node.attr("group", 1))


def _concat(node: Node, shapes: Sequence[Shape | None], read: Callable[[str], Array | None]) -> Iterator[_Pair]:
    whole = [s for s in shapes if s is not None]
    if whole and len({len(s) for s in whole}) == 1:
        rank, joined = len(whole[0]), int(node.attr("axis", 1))
        for at in {*range(rank)} - {joined % rank if rank else 0}:
            yield from ((f"{at} {number}", whole[0][at], other[at]) for number, other in enumerate(whole[1:]))


def _split(node: Node, shapes: Sequence[Shape | None], read: Callable[[str], Array | None]) -> Iterator[_Pair]:
    sizes = node.attr("split") if node.version < 13 else read(node.input(1)) if node.input(1) else None
    axis = int(node.attr("axis", 0))
    if shapes[0] and sizes is not None and -len(shapes[0]) <= axis < len(shapes[0]):
        yield "parts", shapes[0][axis], int(sum(sizes))


def _squeeze(node: Node, shapes: Sequence[Shape | None], read: Callable[[str], Array | None]) -> Iterator[_Pair]:
    axes = node.attr("axes") if node.version < 13 else read(node.input(1)) if node.input(1) else None
    for axis in map(int, axes if axes is not None and shapes[0] else ()):
        if shapes[0] and -len(shapes[0]) <= axis < len(shapes[0]):
            yield f"{axis}", shapes[0][axis], 1


def _layer_norm(node: Node, shapes: Sequence[Shape | None], read: Callable[[str], Array | None]) -> Iterator[_Pair]:
    if shapes[0] is not None and shapes[1] is not None and len(shapes[1]) <= len(shapes[0]):
        pairs = zip(reversed(shapes[0]), reversed(shapes[1]), strict=False)
        yield from ((f"-{at}", there, asked) for at, (there, asked) in enumerate(pairs, 1) if asked != 1)


def _reshape(node: Node, shapes: Sequence[Shape | None], read: Callable[[str], Array | None]) -> Iterator[_Pair]:
    own = shapes[0]
    target = node.attr("shape") if node.version < 5 else read(node.input(1))
    if own is None or None in own or target is None:
        return
    sizes = [int(size) for size in target]
    if not node.attr("allowzero", 0):
        sizes = [own[at] or 0 if size == 0 and at < len(own) else size for at, size in enumerate(sizes)]
    rest = -1 in sizes
    yield "multiple" if rest else "elements", math.prod(s or 0 for s in own), abs(math.prod(sizes))


_ASKING = {
    **dict.fromkeys(_BROADCASTING, _broadcast),
    "Concat": _concat,
    "Conv": _conv,
    "Expand": _expand,
    "Gemm": _gemm,
    "LayerNormalization": _layer_norm,
    "MatMul": _matmul,
    "Reshape": _reshape,
    "Split": _split,
    "Squeeze": _squeeze,
}
