"""What rules see and say: the axes of every tensor, and how an operator relates them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from spa_cli.channels.ids import Ids, Rows
from spa_cli.graph.foreign import is_foreign
from spa_cli.graph.model import Array, Graph, Node
from spa_cli.graph.shapes import Shapes, constant
from spa_cli.graph.states import Pair

PRODUCER, PASS_THROUGH, CONSUMER = "producer", "pass-through", "consumer"

# NumPy has no longer arrays, even of nothing; a file that says so holds none either
_COUNTED = 1 << 56


class Decline(Exception):
    """Raised by a rule that can't follow a node; the sentence becomes the reason everything it touches is frozen."""


@dataclass(frozen=True, eq=False)
class Axis:
    """One axis of one tensor.

    ``rows``: the ids of each index, ``(n, k)``; ``k = 0`` for a *static* axis, none of whose indices can go, for the
    reason ``why``. ``zero``: whether the elements at an index are zero once the parameters at it are zeroed (so that
    summing over the axis does not notice the removal). ``size`` is ``None`` where data decides it.
    """

    rows: Rows
    zero: bool = False
    why: int = 0
    size: int | None = field(default=None)

    @property
    def static(self) -> bool:
        """Whether nothing of the axis can be removed."""
        return len(self.rows.T) == 0

    def with_zero(self, zero: bool) -> Axis:
        """The same axis of another tensor."""
        return self if zero == self.zero else replace(self, zero=zero)


# the longest axis with channels of its own, and of channels at all (flattened maps are longer): both take memory by it
_LONGEST, _MOST = 1 << 22, 1 << 26


class RoleRecord(NamedTuple):
    """A constant tensor's axis took part in a node in this role."""

    rows: Rows
    role: str
    node: str
    sources: frozenset[str]


class Channels:
    """The state of the dependency pass; see ``analyse`` for the loop that fills it."""

    def __init__(self, graph: Graph, shapes: Shapes) -> None:
        self.graph, self.shapes = graph, shapes
        self.ids = Ids()
        self.axes: dict[str, list[Axis]] = {}
        self.sequences: dict[str, list[list[Axis]]] = {}
        self.sources: dict[str, frozenset[str]] = {}
        self.roles: list[RoleRecord] = []
        self.declined: dict[str, tuple[Node, str]] = {}
        self.node: Node = Node("", "", "", {}, (), (), 0, None)  # type: ignore[arg-type]
        self.read: set[str] = set()
        self.mixed: list[tuple[Rows, Rows]] = []
        # states and what gives them back, where they may lose channels
        self.pairs: tuple[Pair, ...] = ()

    # -- creating axes ------------------------------------------------------------------------------------------------

    def fresh(self, n: int, zero: bool = False) -> Axis:
        """An axis of ``n`` channels of its own; one that is too long for channels is static."""
        if n < 0:
            raise Decline(f"it makes an axis of {n}")
        if n > _LONGEST:
            return self.static(n, f"is {n} long")
        return Axis(self.ids.fresh(n), zero, 0, n)

    def require_short(self, n: int) -> None:
        """Raise Decline if an axis of moving channels would be of a length that only a broken file asks for."""
        if not 0 <= n <= _MOST:
            raise Decline(f"it makes an axis of {n}")

    def static(self, n: int | None, text: str, node: str | None = None) -> Axis:
        """An axis of which nothing can be removed, and why."""
        n = None if n is None or n > _COUNTED else n
        why = self.ids.reason(text, self.node.label if node is None else node)
        return Axis(np.zeros((n or 0, 0), np.int64), False, why, n)

    def derived(self, rows: Rows, like: Axis) -> Axis:
        """An axis with ``rows`` picked from those of ``like``."""
        return Axis(rows, like.zero, like.why, len(rows))

    # -- reading ------------------------------------------------------------------------------------------------------

    def of(self, name: str) -> list[Axis]:
        """Axes of a tensor; raises Decline if its shape is unknown."""
        self.read.add(name)
        if name not in self.axes:
            raise Decline(f"the shape of '{name}' is not known before the model runs{self._undeclared(name)}")
        return self.axes[name]

    def _undeclared(self, name: str) -> str:
        """Who would have to say it, where a plugin gives the tensor."""
        node = self.shapes.unknown.get(name)
        if node is None or not is_foreign(node.domain, node.op):
            return ""
        operator = f"{node.domain}::{node.op}" if node.domain else node.op
        return f": {operator} gives it, and the file declares none (an entry in value_info would)"

    def all_axes(self, name: str) -> list[Axis]:
        """Axes of a tensor, or of all tensors of a list; none if they aren't known."""
        return [*self.axes.get(name, []), *(axis for part in self.sequences.get(name, []) for axis in part)]

    def value(self, name: str) -> Array | None:
        """Known small value of a tensor (an index, a shape, a scale), or ``None``."""
        return constant(self.graph, self.shapes, name) if name else None

    def shape(self, name: str) -> tuple[int, ...]:
        """Fully known shape of a tensor; raises Decline otherwise."""
        shape = self.shapes.shape.get(name)
        if shape is None or any(d is None for d in shape):
            raise Decline(f"the shape of '{name}' depends on the data")
        return tuple(int(d) for d in shape if d is not None)

    def values_zero(self, name: str) -> bool:
        """Whether a tensor is absent or known to hold only zeros."""
        value = self.value(name)
        return not name or (value is not None and not np.any(value))

    # -- saying -------------------------------------------------------------------------------------------------------

    def set(self, name: str, axes: Sequence[Axis]) -> None:
        """Give an output its axes."""
        if name:
            self.axes[name] = list(axes)

    def unify(self, a: Axis, b: Axis, text: str = "") -> None:
        """The same indices of both axes stay."""
        if a.static and b.static:
            return
        if a.static or b.static:
            dynamic, fixed = (b, a) if a.static else (a, b)
            self.ids.freeze(dynamic.rows, fixed.why)
        elif len(a.rows) != len(b.rows):
            raise Decline(f"axes of {len(a.rows)} and {len(b.rows)} channels meet")
        else:
            self.ids.unify(a.rows, b.rows, self.why(text or "its channels are arranged differently on its inputs"))

    def together(self, axes: Sequence[Axis]) -> Axis:
        """Couple axes that keep the same indices; the one that stands for all of them moves if any does."""
        # a static axis tells the reason, a moving one carries the ids
        first = next((a for a in axes if not a.static), axes[0])
        for other in axes:
            if other is not first:
                self.unify(first, other)
        return first

    def why(self, text: str) -> int:
        """Reason index for a sentence about the current node."""
        return self.ids.reason(text, self.node.label)

    def freeze(self, axis: Axis, text: str) -> None:
        """No channel of the axis can be removed."""
        if not axis.static:
            self.ids.freeze(axis.rows, self.why(text))

    def freeze_tensor(self, name: str, text: str) -> None:
        """No channel of any axis of a tensor can be removed; ``name`` is empty for an optional input that is absent."""
        for axis in self.of(name) if name else ():
            self.freeze(axis, text)

    def inexact(self, axis: Axis, text: str) -> None:
        """Channels of the axis can be removed, but that is not the same as zeroing them."""
        if not axis.static:
            self.ids.mark_inexact(axis.rows, self.why(text))

    def contract(self, a: Axis, b: Axis) -> None:
        """Sum of products over an axis of both: exact where one side is zero at removed indices."""
        self.unify(a, b)
        if not (a.zero or b.zero):
            self.inexact(a, "sums products of channels that are not zero when their weights are")

    def mixes(self, over: Axis, kept: Axis) -> None:
        """Each index of ``kept`` meets every index of another operand, summed ``over`` the same channels.

        Blocks along ``kept`` can't keep different channels of ``over`` then (one feature's dot product with another's).
        """
        if not (over.static or kept.static):
            self.mixed.append((over.rows, kept.rows))

    def role(self, name: str, axis: int, role: str) -> None:
        """Note what a constant operand's axis is to the current node."""
        if name in self.sources and name in self.axes:
            rows = self.axes[name][axis].rows
            self.roles.append(RoleRecord(rows, role, self.node.label, self.sources[name]))

    # -- axes seen as several, and back -------------------------------------------------------------------------------

    def split(self, axis: Axis, sizes: Sequence[int]) -> list[Axis]:
        """The axes of ``sizes`` whose merge is ``axis``."""
        if axis.static:
            return [Axis(np.zeros((s, 0), np.int64), axis.zero, axis.why, s) for s in sizes]
        mismatch = self.why(
            f"its {len(axis.rows)} channels are cut into {' x '.join(map(str, sizes))} in a way that mixes them"
        )
        parts = self.ids.split(axis.rows, tuple(sizes), mismatch)
        return [Axis(p, axis.zero, axis.why or mismatch, s) for p, s in zip(parts, sizes, strict=True)]

    def merge(self, axes: Sequence[Axis]) -> Axis:
        """One axis over all combinations of ``axes``, the last fastest."""
        if len(axes) == 1:
            return axes[0]
        size = math.prod(int(a.size or 0) for a in axes)
        moving = [a for a in axes if not a.static]
        if not moving:
            return Axis(np.zeros((size, 0), np.int64), False, axes[0].why, size)
        self.require_short(size)
        return Axis(Ids.merge([a.rows for a in axes]), all(a.zero for a in moving), moving[0].why, size)
