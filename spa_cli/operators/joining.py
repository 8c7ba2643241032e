"""Concat and Split: channels one after the other along one axis."""

from __future__ import annotations

import numpy as np

from spa_cli.channels.state import Axis, Channels, Decline
from spa_cli.graph.model import Node
from spa_cli.operators.bundles import parts_of, rewrite_joint
from spa_cli.operators.registry import register
from spa_cli.surgery.cut import Cut


@register("Concat", rewrite=rewrite_joint)
def concat(node: Node, state: Channels) -> None:
    """Channels one after the other along one axis; the other axes are coupled, unless it is taken apart again."""
    if parts_of(state.graph, state.shapes, node) is None:
        joined(node, state, list(node.inputs))
        return
    state.read.update(node.inputs)
    sizes = state.shapes.shape.get(node.outputs[0]) or ()
    state.set(node.outputs[0], [state.static(d, "is joined with others and taken apart again") for d in sizes])


def joined(node: Node, state: Channels, names: list[str]) -> None:
    """Concatenate ``names`` along the node's axis."""
    tensors = [state.of(n) for n in names]
    at = int(node.attr("axis", 1)) % len(tensors[0])
    sizes = state.shapes.shape.get(node.outputs[0])
    state.set(node.outputs[0], join_axes(state, tensors, at, sizes[at] if sizes else None))


def join_axes(state: Channels, tensors: list[list[Axis]], at: int, size: int | None) -> list[Axis]:
    """Axes of tensors one after the other along axis ``at``, whose whole length is ``size``; the others are coupled."""
    result = []
    for position in range(len(tensors[0])):
        axes = [t[position] for t in tensors]
        if position == at:
            result.append(_joined_axis(state, [a for a in axes if a.size != 0], size))
            continue
        result.append(state.together(axes).with_zero(all(a.zero for a in axes)))
    return result


def _joined_axis(state: Channels, axes: list[Axis], size: int | None) -> Axis:
    if len(axes) == 1:
        return axes[0]
    if any(a.size is None for a in axes):
        for axis in axes:
            state.freeze(axis, "is joined with channels whose number depends on the data")
        return state.static(size, "its size depends on the data")
    moving = [a for a in axes if not a.static]
    if not moving:
        return Axis(np.zeros((sum(len(a.rows) for a in axes), 0), np.int64), False, axes[0].why, size)
    width = max(a.rows.shape[1] for a in axes)
    pieces = []
    for axis in axes:
        rows = axis.rows
        if axis.static:
            rows = state.ids.fresh(len(rows))
            state.ids.freeze(rows, axis.why)
        pieces.append(np.pad(rows, ((0, 0), (0, width - rows.shape[1]))))
    joined = np.concatenate(pieces)
    return Axis(joined, all(a.zero for a in moving), moving[0].why, len(joined))


def rewrite_split(node: Node, cut: Cut) -> None:
    """Explicit sizes, unless equal parts still are."""
    axis = int(node.attr("axis", 0))
    sizes = [cut.shape(o)[axis] for o in node.outputs]
    total = cut.shape(node.inputs[0])[axis]
    given = cut.value(node.input(1)) if node.input(1) else node.attr("split")
    if given is None and not node.input(1):
        if len(set(sizes)) == 1 and sizes[0] * len(sizes) == total:
            return
    elif given is not None and [int(s) for s in given] == sizes:
        return
    if node.version < 13:
        cut.set_attribute(node, "split", sizes)
    else:
        cut.remove_attribute(node, "num_outputs")
        cut.set_constant(node, 1, np.array(sizes, np.int64))


@register("Split", rewrite=rewrite_split)
def split(node: Node, state: Channels) -> None:
    """Consecutive channels of one axis."""
    axes = state.of(node.inputs[0])
    at = int(node.attr("axis", 0)) % len(axes)
    start = 0
    for name in node.outputs:
        size = state.shape(name)[at]
        part = axes[at]
        if part.size is None:
            raise Decline("the number of channels it splits depends on the data")
        state.set(name, [*axes[:at], state.derived(part.rows[start : start + size], part), *axes[at + 1 :]])
        start += size
