"""Operators that pick or add channels by position: Slice, Pad, Gather by constant indices."""

from __future__ import annotations

import numpy as np

from spa_cli.channels.state import Axis, Channels, Decline
from spa_cli.graph.known import Read
from spa_cli.graph.model import Array, Node
from spa_cli.operators.bundles import part_of
from spa_cli.operators.registry import register
from spa_cli.operators.spans import set_bounds, spans
from spa_cli.surgery.cut import Cut


def rewrite_slice(node: Node, cut: Cut) -> None:
    """New bounds wherever the old ones no longer pick exactly the channels that are left."""
    if part_of(cut.graph, cut.known, node):
        return  # see ``rewrite_joint``
    rank = len(cut.shape(node.inputs[0]))
    old_spans = spans(node, cut.old_value, rank)
    now = spans(node, cut.value, rank) or old_spans
    for i, (was, natural) in enumerate(zip(old_spans or [], now or [], strict=True)):
        old_size, size = cut.old_shape(node.inputs[0])[was.axis], cut.shape(node.inputs[0])[was.axis]
        place = cut.new_positions(node.inputs[0], was.axis)
        wanted = [int(place[j]) for j in was.picked(old_size) if place[j] >= 0]
        if list(natural.picked(size)) == wanted:
            continue
        set_bounds(node, cut, i, wanted[0], wanted[-1] + was.step if was.step > 0 else wanted[-1] - 1)


@register("Slice", rewrite=rewrite_slice)
def slice_(node: Node, state: Channels) -> None:
    """Channels from a start to an end; with a stride, whole strides stay together."""
    axes, part = list(state.of(node.inputs[0])), part_of(state.graph, state.shapes, node)
    if part is not None:
        axes = list(state.of(part.source))
        axes[part.axis] = state.derived(axes[part.axis].rows[part.places], axes[part.axis])
        state.set(node.outputs[0], axes)
        return
    taken = spans(node, state.value, len(axes))
    if taken is None:
        _slice_computed(node, state, axes)
        return
    sizes = state.shapes.shape.get(node.outputs[0])
    for span in taken:
        axis = axes[span.axis]
        if axis.static:
            size = sizes[span.axis] if sizes else None
            axes[span.axis] = Axis(np.zeros((size or 0, 0), np.int64), axis.zero, axis.why, size)
            continue
        picked = span.picked(len(axis.rows))
        if abs(span.step) > 1 and len(picked) > 1:
            _keep_strides(state, axis, abs(span.step), picked)
        axes[span.axis] = state.derived(axis.rows[list(picked)], axis)
    state.set(node.outputs[0], axes)


def _keep_strides(state: Channels, axis: Axis, step: int, picked: range) -> None:
    """x[..., ::2]: indices 2i and 2i+1 go together, so that the stride still finds them."""
    if len(axis.rows) % step or len(picked) != len(axis.rows) // step:
        state.freeze(axis, f"is sliced in steps of {step}")
        return
    _, phase = state.split(axis, (len(axis.rows) // step, step))
    state.freeze(phase, f"is sliced in steps of {step}")


def _slice_computed(node: Node, state: Channels, axes: list[Axis]) -> None:
    """Bounds that depend on the data freeze what they slice; an axis that keeps its size passes."""
    which = state.value(node.input(3)) if node.input(3) else None
    sizes = state.shapes.shape.get(node.outputs[0])
    if sizes is None:
        raise Decline("it is sliced to a size that depends on the data")
    sliced = {int(a) % len(axes) for a in np.ravel(which)} if which is not None else set(range(len(axes)))
    for at in sliced:
        state.freeze(axes[at], "is sliced at bounds that depend on the data")
        axes[at] = state.static(sizes[at], "is sliced at bounds that depend on the data")
    state.set(node.outputs[0], axes)


def rewrite_pad(node: Node, cut: Cut) -> None:
    """As many channels of padding as are still wanted."""
    rank = len(cut.shape(node.inputs[0]))
    at = _pad_axes(node, cut.old_value, rank)
    old = _pads(node, cut.old_value)
    current = _pads(node, cut.value)
    if old is None:
        return
    changed = {}
    for i, axis in enumerate(at):
        alive = cut.kept_mask(node.outputs[0], axis)
        head, tail = int(old[i]), int(old[i + len(at)])
        for index, amount, span in ((i, head, alive[:head]), (i + len(at), tail, alive[len(alive) - tail :])):
            if amount > 0 and int(span.sum()) != (amount if current is None else int(current[index])):
                changed[index] = int(span.sum())
            elif amount < 0:
                source = cut.kept_mask(node.inputs[0], axis)
                cropped = source[:-amount] if index == i else source[amount:]
                if int(cropped.sum()) != -amount:
                    changed[index] = -int(cropped.sum())
    if changed and node.version < 11:
        name = "pads" if node.attr("pads") is not None else "paddings"
        cut.set_attribute(node, name, [changed.get(i, int(v)) for i, v in enumerate(old)])
    else:
        cut.set_elements(node, 1, changed)


def _pads(node: Node, read: Read) -> Array | None:
    if node.version < 11:
        return np.asarray(node.attr("pads", node.attr("paddings")))
    return read(node.inputs[1])


def _pad_axes(node: Node, read: Read, rank: int) -> list[int]:
    if node.input(3):
        value = read(node.inputs[3])
        if value is not None:
            return [int(a) % rank for a in value]
    return list(range(rank))


@register("Pad", rewrite=rewrite_pad, settings=(2,))
def pad(node: Node, state: Channels) -> None:
    """Padding a channel axis with a constant adds channels that can be removed again."""
    axes = list(state.of(node.inputs[0]))
    pads, sizes = _pads(node, state.value), state.shapes.shape.get(node.outputs[0])
    if sizes is None:
        raise Decline("it is padded to a size that depends on the data")
    if pads is None:
        for i, (axis, size) in enumerate(zip(axes, sizes, strict=True)):
            if axis.size != size:
                state.freeze(axis, "is padded by an amount that depends on the data")
                axes[i] = state.static(size, "is padded by an amount that depends on the data")
        state.set(node.outputs[0], axes)
        return
    at = _pad_axes(node, state.value, len(axes))
    constant = node.attr("mode", "constant") == "constant"
    fill_zero = constant and (state.values_zero(node.input(2)) if node.version >= 11 else not node.attr("value", 0.0))
    for i, position in enumerate(at):
        head, tail = int(pads[i]), int(pads[i + len(at)])
        axis = axes[position]
        if head == tail == 0:
            continue
        if axis.static or not constant:
            state.freeze(axis, f"is padded in mode '{node.attr('mode', 'constant')}'")
            axes[position] = Axis(
                np.zeros((sizes[position] or 0, 0), np.int64),
                False,
                axis.why or state.why("is padded"),
                sizes[position],
            )
        else:
            axes[position] = _padded(state, axis, head, tail, fill_zero)
    padded = {p for i, p in enumerate(at) if pads[i] or pads[i + len(at)]}
    state.set(
        node.outputs[0],
        [a if i in padded else a.with_zero(a.zero and (fill_zero or not padded)) for i, a in enumerate(axes)],
    )


def _padded(state: Channels, axis: Axis, head: int, tail: int, zero: bool) -> Axis:
    rows = axis.rows[max(-head, 0) : len(axis.rows) - max(-tail, 0)]
    width = rows.shape[1] - 1
    state.require_short(len(rows) + max(head, tail, 0))
    parts = [np.pad(state.ids.fresh(max(n, 0)), ((0, 0), (0, width))) for n in (head, tail)]
    joined = np.concatenate([parts[0], rows, parts[1]])
    return Axis(joined, axis.zero and zero, axis.why, len(joined))


def rewrite_gather(node: Node, cut: Cut) -> None:
    """Constant indices follow their channels; indices of removed ones disappear."""
    if part_of(cut.graph, cut.known, node):
        return  # see ``rewrite_joint``
    axis = int(node.attr("axis", 0)) % len(cut.old_shape(node.inputs[0]))
    indices = cut.old_value(node.inputs[1])
    if indices is None or cut.shape(node.inputs[0])[axis] == cut.old_shape(node.inputs[0])[axis]:
        return
    size = cut.old_shape(node.inputs[0])[axis]
    place = cut.new_positions(node.inputs[0], axis)
    moved = place[np.where(indices < 0, indices + size, indices)]
    cut.set_constant(node, 1, (moved[moved >= 0] if moved.ndim else moved).astype(indices.dtype))


@register("Gather", rewrite=rewrite_gather)
def gather(node: Node, state: Channels) -> None:
    """By known indices: those channels. By data: the axis stays whole (an embedding's vocabulary)."""
    axes, indices = list(state.of(node.inputs[0])), state.value(node.input(1))
    picked_axes, part = state.of(node.inputs[1]), part_of(state.graph, state.shapes, node)
    if part is not None:
        axes, indices = list(state.of(part.source)), part.places
    at = int(node.attr("axis", 0)) % len(axes)
    axis = axes[at]
    if indices is None or axis.static or not (node.inputs[1] in state.sources or np.ndim(indices) == 0):
        state.freeze(axis, "is looked up by data-dependent indices")
        for other in picked_axes:
            state.freeze(other, "holds indices")
        middle = [state.static(a.size, "is looked up by data-dependent indices") for a in picked_axes]
    elif np.ndim(indices) == 0:
        state.freeze(state.derived(axis.rows[[int(indices)]], axis), "is picked by its index")
        middle = []
    elif np.ndim(indices) == 1:
        middle = [state.derived(axis.rows[np.asarray(indices, np.int64)], axis)]
    else:
        state.freeze(axis, "is picked by a table of indices")
        middle = [state.static(d, "is picked by a table of indices") for d in np.shape(indices)]
    state.set(node.outputs[0], [*axes[:at], *middle, *axes[at + 1 :]])
