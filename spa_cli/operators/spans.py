"""The axes that a Slice takes a part of, as the node states them, and stating them anew."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from spa_cli.graph.known import Read
from spa_cli.graph.model import Node
from spa_cli.surgery.cut import Cut

_END = np.iinfo(np.int64).max


class Span(NamedTuple):
    """One sliced axis, as the node states it."""

    axis: int
    start: int
    end: int
    step: int

    def picked(self, size: int) -> range:
        """The indices taken from an axis of ``size``."""
        return range(size)[slice(self._bound(self.start, size), self._bound(self.end, size), self.step)]

    def _bound(self, value: int, size: int) -> int | None:
        # ONNX clamps what Python would wrap: an end below -size with a negative step means "to the very first"
        if value < -size:
            return None if self.step < 0 else 0
        return value


def spans(node: Node, read: Read, rank: int) -> list[Span] | None:
    """The slices of a Slice node (attributes before opset 10, inputs since), ``None`` if they are computed."""
    if node.version < 10:
        starts, ends = node.attr("starts"), node.attr("ends")
        axes, steps = node.attr("axes"), None
    else:
        starts, ends, axes, steps = (read(node.input(i)) if node.input(i) else None for i in range(1, 5))
        if any(node.input(i) and v is None for i, v in zip(range(1, 5), (starts, ends, axes, steps), strict=True)):
            return None
    if starts is None or ends is None:
        return None
    count = len(np.ravel(starts))
    where = np.arange(count) if axes is None else np.ravel(axes)
    strides = np.ones(count, np.int64) if steps is None else np.ravel(steps)
    return [
        Span(int(a) % rank, int(s), int(e), int(t))
        for a, s, e, t in zip(where, np.ravel(starts), np.ravel(ends), strides, strict=True)
    ]


def set_bounds(node: Node, cut: Cut, at: int, start: int, end: int) -> None:
    """New bounds for the ``at``-th axis that a Slice names; an end of -1 is before the very first."""
    for index, (name, value) in enumerate({"starts": start, "ends": end if end >= 0 else -_END}.items(), 1):
        if node.version < 10:
            cut.set_attribute(node, name, [value if j == at else v for j, v in enumerate(cut.attribute(node, name))])
        else:
            cut.set_elements(node, index, {at: value})
