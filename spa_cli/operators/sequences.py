"""Lists of tensors: cut, gathered one by one, put together again (scripted ``split``, ``stack``, ``cat``)."""

from __future__ import annotations

import numpy as np

from spa_cli.channels.state import Axis, Channels, Decline
from spa_cli.graph.model import Node
from spa_cli.operators.joining import join_axes
from spa_cli.operators.registry import register
from spa_cli.surgery.cut import Cut


def rewrite_parts(node: Node, cut: Cut) -> None:
    """Explicit sizes: what is left of each part."""
    if not cut.changed(node.inputs[0]):
        return
    axis = int(node.attr("axis", 0)) % len(cut.old_shape(node.inputs[0]))
    kept = cut.kept_mask(node.inputs[0], axis)
    given = cut.old_value(node.input(1)) if node.input(1) else np.array(1)
    if given is None or len(kept) == int(kept.sum()):
        return
    ends = np.cumsum(_sizes(given, len(kept)))[:-1]
    cut.set_constant(node, 1, np.array([int(part.sum()) for part in np.split(kept, ends)], np.int64))


def _sizes(given: np.ndarray, total: int) -> list[int]:
    """Sizes of the parts: a list, or one size of which the last part may be less."""
    if given.ndim:
        return [int(s) for s in given]
    size = max(int(given), 1)
    return [min(size, total - start) for start in range(0, total, size)]


@register("SplitToSequence", rewrite=rewrite_parts)
def split_to_sequence(node: Node, state: Channels) -> None:
    """Consecutive channels of one axis, each part a tensor of the list."""
    axes = state.of(node.inputs[0])
    at = int(node.attr("axis", 0)) % len(axes)
    given = state.value(node.input(1)) if node.input(1) else np.array(1)
    total = axes[at].size
    if given is None or total is None:
        raise Decline("the sizes of the parts depend on the data")
    single = not node.input(1) and not node.attr("keepdims", 1)
    if not node.input(1):
        state.freeze(axes[at], "is cut into parts of one")
    parts, start = [], 0
    for size in _sizes(given, total):
        part = state.derived(axes[at].rows[start : start + size], axes[at])
        parts.append([*axes[:at], *([] if single else [part]), *axes[at + 1 :]])
        start += size
    state.sequences[node.outputs[0]] = parts


@register("SequenceEmpty", "SequenceConstruct")
def construct(node: Node, state: Channels) -> None:
    """A list of the inputs."""
    state.sequences[node.outputs[0]] = [state.of(name) for name in node.inputs]


@register("SequenceInsert", "SequenceErase")
def change(node: Node, state: Channels) -> None:
    """One tensor more, or one less, at a known place."""
    parts = list(_parts(node, state))
    inserts = node.op == "SequenceInsert"
    at = _place(node, state, 2 if inserts else 1, len(parts))
    if inserts:
        parts.insert(len(parts) if at is None else at, state.of(node.inputs[1]))
    else:
        parts.pop(-1 if at is None else at)
    state.sequences[node.outputs[0]] = parts


@register("SequenceAt")
def element(node: Node, state: Channels) -> None:
    """The tensor at a known place."""
    parts = _parts(node, state)
    at = _place(node, state, 1, len(parts))
    assert at is not None, "SequenceAt has a position"
    state.set(node.outputs[0], parts[at])


@register("SequenceLength")
def length(node: Node, state: Channels) -> None:
    """How many there are."""
    _parts(node, state)
    state.set(node.outputs[0], [])


@register("ConcatFromSequence")
def concat_from_sequence(node: Node, state: Channels) -> None:
    """All tensors of the list, one after the other along an axis, or along a new one."""
    parts = _parts(node, state)
    if not parts:
        raise Decline("the list it joins is empty")
    sizes = state.shapes.shape.get(node.outputs[0])
    rank = len(parts[0]) + bool(node.attr("new_axis", 0))
    at = int(node.attr("axis")) % rank
    if node.attr("new_axis", 0):
        one = [state.static(1, "counts the tensors of a list") for _ in parts]
        parts = [[*axes[:at], own, *axes[at:]] for axes, own in zip(parts, one, strict=True)]
    state.set(node.outputs[0], join_axes(state, parts, at, sizes[at] if sizes else None))


def _parts(node: Node, state: Channels) -> list[list[Axis]]:
    found = state.sequences.get(node.inputs[0])
    if found is None:
        raise Decline(f"the list '{node.inputs[0]}' is not known before the model runs")
    return found


def _place(node: Node, state: Channels, index: int, count: int) -> int | None:
    """A known position, ``None`` for the end where none is given."""
    if not node.input(index):
        return None
    value = state.value(node.inputs[index])
    if value is None:
        raise Decline(f"the position {node.op} works at depends on the data")
    at = int(np.ravel(value)[0])
    return at + count if at < 0 else at
