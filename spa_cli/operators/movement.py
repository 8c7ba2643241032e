"""Operators that only move data: axes are cut, merged, reordered, repeated; no element is computed."""

from __future__ import annotations

import math

import numpy as np

from spa_cli.channels.state import Axis, Channels, Decline
from spa_cli.graph.model import Node
from spa_cli.operators.registry import MICROSOFT, register
from spa_cli.operators.shuffle import ending_at, starting_at
from spa_cli.operators.sizes import effective_shape, rewrite_repeats, rewrite_sizes
from spa_cli.surgery.cut import Cut


def rewrite_reshape(node: Node, cut: Cut) -> None:
    """Name the new sizes only where the node's own 0, -1 and computed entries don't already give them.

    A channel shuffle that loses channels becomes one Gather: any of them may go, not only whole rows of its grid.
    """
    start = starting_at(cut.graph, cut.known, node)
    if start is not None and cut.moves(start.source, start.axis):
        return
    shuffle = ending_at(cut.graph, cut.known, node)
    if shuffle is not None and cut.moves(shuffle.source, shuffle.axis):
        if cut.changed(node.outputs[0]):
            kept = cut.kept_mask(node.outputs[0], shuffle.axis)
            moved = cut.new_positions(shuffle.source, shuffle.axis)[shuffle.order][kept]
            cut.become(node, "Gather", shuffle.source, moved, axis=shuffle.axis)
            for inner in shuffle.inner:
                cut.drop(inner)
        return
    source, wanted = cut.shape(node.inputs[0]), cut.shape(node.outputs[0])
    old = cut.old_shape(node.outputs[0])
    if node.attr("shape") is not None:
        given = list(node.attr("shape"))
        if effective_shape(given, source, False) != wanted:
            cut.set_attribute(node, "shape", [w if w != o else g for w, o, g in zip(wanted, old, given, strict=True)])
        return
    allow_zero = bool(node.attr("allowzero", 0))
    current = cut.value(node.inputs[1])
    if current is None:
        cut.set_elements(node, 1, {i: w for i, (w, o) in enumerate(zip(wanted, old, strict=True)) if w != o})
        return
    if effective_shape(list(current), source, allow_zero) == wanted:
        return
    literal = {i: w for i, w in enumerate(wanted) if int(current[i]) not in (-1, 0) and int(current[i]) != w}
    trial = [literal.get(i, int(c)) for i, c in enumerate(current)]
    if effective_shape(trial, source, allow_zero) != wanted:
        literal |= {i: w for i, w in enumerate(wanted) if int(current[i]) in (-1, 0) and old[i] != w}
    cut.set_elements(node, 1, literal)


@register("Reshape", rewrite=rewrite_reshape)
@register("Flatten")
def reshape(node: Node, state: Channels) -> None:
    """Sizes are matched from the left; runs of axes with equal products are cut or merged."""
    shape = state.shapes.shape.get(node.outputs[0])
    axes = state.of(node.inputs[0])
    start = starting_at(state.graph, state.shapes, node)
    if start is not None and not axes[start.axis].static:
        state.set(node.outputs[0], [state.static(d, "lies inside a channel shuffle") for d in shape or ()])
        return
    shuffle = ending_at(state.graph, state.shapes, node)
    if shuffle is not None and not (axis := state.of(shuffle.source)[shuffle.axis]).static:
        axes = list(state.of(shuffle.source))
        axes[shuffle.axis] = state.derived(axis.rows[shuffle.order], axis)
        state.set(node.outputs[0], axes)
        return
    if shape is None or any(d is None for d in shape) or any(a.size is None for a in axes):
        state.set(node.outputs[0], _reshape_unknown(node, state, axes, shape))
        return
    sizes = [int(d) for d in shape if d is not None]
    if math.prod(sizes) != math.prod(int(a.size or 0) for a in axes):
        # a free dimension that was taken to be something else than the model needs
        raise Decline("it is reshaped to more or fewer elements than it has; give --input-shape")
    state.set(node.outputs[0], regroup(state, axes, sizes))


def regroup(state: Channels, axes: list[Axis], sizes: list[int]) -> list[Axis]:
    """Axes of a tensor with ``axes`` once it is seen with ``sizes``."""
    if 0 in sizes:
        return [state.static(s, "is empty") for s in sizes]
    for axis in axes:
        if axis.size == 1:
            state.freeze(axis, "is the only channel of an axis that is reshaped")
    wide = [a for a in axes if a.size != 1]
    targets = [s for s in sizes if s != 1]
    parts: list[Axis] = []
    for inside, outside in _runs([int(a.size or 0) for a in wide], targets):
        parts += _recut(state, wide[inside], targets[outside])
    rest = iter(parts)
    return [next(rest) if s != 1 else state.static(1, "has a single channel") for s in sizes]


def _recut(state: Channels, axes: list[Axis], sizes: list[int]) -> list[Axis]:
    if [a.size for a in axes] == sizes:
        return axes
    if all(a.static for a in axes):
        return [Axis(np.zeros((s, 0), np.int64), False, axes[0].why, s) for s in sizes]
    whole = state.merge(axes)
    return [whole] if len(sizes) == 1 else state.split(whole, sizes)


def _runs(left: list[int], right: list[int]) -> list[tuple[slice, slice]]:
    """Shortest runs of sizes on both sides with equal products, in order."""
    runs = []
    i = j = 0
    while i < len(left):
        start_i, start_j = i, j
        a, b = left[i], right[j]
        i, j = i + 1, j + 1
        while a != b:
            if a < b:
                a, i = a * left[i], i + 1
            else:
                b, j = b * right[j], j + 1
        runs.append((slice(start_i, i), slice(start_j, j)))
    return runs


def _reshape_unknown(node: Node, state: Channels, axes: list[Axis], shape: tuple[int | None, ...] | None) -> list[Axis]:
    """A size that data decides: leading or trailing axes of equal size pass, what lies between is frozen."""
    if shape is None:
        raise Decline("it is reshaped to a size that depends on the data")
    result: list[Axis | None] = [None] * len(shape)
    last = 0
    while last < min(len(axes), len(shape)) and axes[-1 - last].size == shape[-1 - last] is not None:
        result[-1 - last] = axes[-1 - last]
        last += 1
    for axis in axes[: len(axes) - last]:
        state.freeze(axis, "is reshaped to a size that depends on the data")
    return [r or state.static(d, "its size depends on the data") for r, d in zip(result, shape, strict=True)]


@register("Transpose")
def transpose(node: Node, state: Channels) -> None:
    """Axes in another order."""
    axes = state.of(node.inputs[0])
    order = node.attr("perm") or list(range(len(axes)))[::-1]
    state.set(node.outputs[0], [axes[i] for i in order])


@register("Squeeze")
def squeeze(node: Node, state: Channels) -> None:
    """Axes of one disappear."""
    axes = state.of(node.inputs[0])
    given = _axes_argument(node, state)
    gone = {a % len(axes) for a in given} if given is not None else {i for i, a in enumerate(axes) if a.size == 1}
    for i in gone:
        state.freeze(axes[i], "is squeezed away, so its only channel has to stay")
    state.set(node.outputs[0], [a for i, a in enumerate(axes) if i not in gone])


@register("Unsqueeze")
def unsqueeze(node: Node, state: Channels) -> None:
    """New axes of one."""
    axes, given = state.of(node.inputs[0]), _axes_argument(node, state)
    if given is None:
        raise Decline("the axes of Unsqueeze are computed")
    rank = len(axes) + len(given)
    new = {a % rank for a in given}
    rest = iter(axes)
    state.set(
        node.outputs[0], [state.static(1, "has a single channel") if i in new else next(rest) for i in range(rank)]
    )


@register("ExpandDims", domain=MICROSOFT)
def expand_dims(node: Node, state: Channels) -> None:
    """One new axis of one, at a place given as an input."""
    axes, place = list(state.of(node.inputs[0])), state.value(node.inputs[1])
    if place is None:
        raise Decline("the axis of ExpandDims is computed")
    at = int(np.ravel(place)[0]) % (len(axes) + 1)
    state.set(node.outputs[0], [*axes[:at], state.static(1, "has a single channel"), *axes[at:]])


def _axes_argument(node: Node, state: Channels) -> list[int] | None:
    """``axes`` as an attribute (before opset 13) or as an input."""
    if node.attr("axes") is not None:
        return list(node.attr("axes"))
    value = state.value(node.input(1))
    return None if value is None else [int(a) for a in np.ravel(value)]


@register("Expand", rewrite=lambda node, cut: rewrite_sizes(node, cut, 1))
def expand(node: Node, state: Channels) -> None:
    """An axis of one becomes as many as asked for; those can be fewer after a cut."""
    axes, shape = state.of(node.inputs[0]), state.shapes.shape.get(node.outputs[0])
    if shape is None:
        raise Decline("it is expanded to a shape that depends on the data")
    result = []
    for back in range(-len(shape), 0):
        size, own = shape[back], axes[back] if len(axes) >= -back else None
        if own is not None and own.size == size:
            result.append(own)
            continue
        if own is not None:
            state.freeze(own, "is expanded along this axis")
        if size and size > 1:
            result.append(state.fresh(size, zero=bool(node.inputs[0]) and state.values_zero(node.inputs[0])))
        else:
            result.append(state.static(size, "its size depends on the data"))
    state.set(node.outputs[0], result)


@register("Tile", rewrite=rewrite_repeats)
def tile(node: Node, state: Channels) -> None:
    """Copies of the channels one after the other."""
    axes, repeats = state.of(node.inputs[0]), state.value(node.input(1))
    if repeats is None or len(np.ravel(repeats)) != len(axes):
        raise Decline("how often Tile repeats depends on the data")
    result = []
    for axis, times in zip(axes, (int(r) for r in repeats), strict=True):
        if times == 1 or axis.size is None:
            result.append(axis if times == 1 else state.static(None, "its size depends on the data"))
        elif axis.size == 1:
            state.freeze(axis, "is repeated along this axis")
            result.append(state.fresh(times))
        else:
            state.require_short(axis.size * times)
            result.append(Axis(np.tile(axis.rows, (times, 1)), axis.zero, axis.why, axis.size * times))
    state.set(node.outputs[0], result)


@register("DepthToSpace")
def depth_to_space(node: Node, state: Channels) -> None:
    """PixelShuffle: ``b*b`` input channels make one output channel."""
    n, c = state.of(node.inputs[0])[:2]
    block = int(node.attr("blocksize"))
    deep = int(c.size or 0) // block**2
    sizes = (block, block, deep) if node.attr("mode", "DCR") == "DCR" else (deep, block, block)
    parts = state.split(c, sizes)
    channels = parts[2] if node.attr("mode", "DCR") == "DCR" else parts[0]
    for part in parts:
        if part is not channels:
            state.freeze(part, "becomes space in DepthToSpace")
    space = state.shapes.shape[node.outputs[0]][2:]
    state.set(node.outputs[0], [n, channels, *(state.static(s, "is space") for s in space)])


@register("SpaceToDepth")
def space_to_depth(node: Node, state: Channels) -> None:
    """``b*b`` output channels from each input channel."""
    n, c, h, w = state.of(node.inputs[0])
    for axis in (h, w):
        state.freeze(axis, "is cut into blocks by SpaceToDepth")
    block = state.static(int(node.attr("blocksize")), "was space before SpaceToDepth")
    space = state.shapes.shape[node.outputs[0]][2:]
    state.set(node.outputs[0], [n, state.merge([block, block, c]), *(state.static(s, "is space") for s in space)])
