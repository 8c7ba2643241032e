"""Numbers that move: the adjoint moves them back, and adds up where one went to several places."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from spa_cli.adjoints.emitter import Ints, NoAdjoint, Value
from spa_cli.adjoints.table import Call, Gradient, adjoint_of, unbroadcast


@adjoint_of("Reshape Flatten Squeeze Unsqueeze", inputs=(0,))
def reshape(c: Call) -> Value:
    """Back to the shape it had."""
    return c.emit.reshape(c.g, c.emit.shape(c.x()))


@adjoint_of("Transpose")
def transpose(c: Call) -> Value:
    """The inverse order."""
    perm = c.node.attr("perm", list(range(c.rank()))[::-1])
    return c.emit.transpose(c.g, [int(i) for i in np.argsort(perm)])


@adjoint_of("Expand", inputs=(0,))
def expand(c: Call) -> Value:
    """Summed over what was repeated."""
    return unbroadcast(c.sizes, c.g, c.node.outputs[0], c.node.inputs[0])


@adjoint_of("Tile", inputs=(0,))
def tile(c: Call) -> Value:
    """Summed over the tiles."""
    e, dims = c.emit, c.emit.shape(c.x())
    repeats = e.shape(c.g) / dims
    both = e.concat([e.unsqueeze(v, [1]) for v in (repeats, dims)], 1)
    return e.reduce(e.reshape(c.g, e.reshape(both, [-1])), [2 * i for i in range(c.rank())], keepdims=False)


@adjoint_of("Concat")
def concat(c: Call) -> Mapping[int, Gradient]:
    """Each its part."""
    axis = c.axis(1 if c.emit.opset < 4 else 0)
    sizes = [c.sizes.fixed(name)[axis] for name in c.node.inputs]

    def of(i: int) -> Gradient:
        def part() -> Value:
            starts: Ints
            ends: Ints
            before, own = sizes[:i], sizes[i]
            if None not in before and own is not None:
                start = sum(s or 0 for s in before)
                starts, ends = [start], [start + own]
            else:
                starts = c.emit.total([c.emit.ints([0]), *(c.emit.size(c.x(j), axis) for j in range(i))])
                ends = starts + c.emit.size(c.x(i), axis)
            return c.emit.slice(c.g, starts, ends, [axis])

        return part

    return {i: of(i) for i in range(len(sizes))}


@adjoint_of("Split", inputs=(0,), outputs=None)
def split(c: Call) -> Value:
    """The parts behind each other."""
    parts = [c.cotangent(i) for i in range(len(c.node.outputs))]
    return c.emit.concat(parts, c.axis())


@adjoint_of("Pad", inputs=(0,))
def pad(c: Call) -> Value:
    """Without the border; of a border that repeats the image, the sums."""
    e, node = c.emit, c.node
    pads: Ints = [int(p) for p in node.attr("pads", ())]
    known = np.array(pads) if pads else c.sizes.value(node.input(1))
    if known is not None and c.has(3):
        axes, all_pads = c.known(3, "axes") % c.rank(), np.zeros((2, c.rank()), np.int64)
        all_pads[:, axes] = known.reshape(2, -1)
        known = all_pads.reshape(-1)
    mode = node.attr("mode", "constant")
    if mode == "constant":
        if known is not None:
            return e.pad(c.g, [-int(p) for p in known])
        if c.has(3):
            raise NoAdjoint("its pads are computed")
        return e.pad(c.g, -c.x(1))
    if known is None:
        raise NoAdjoint("its pads are computed")
    g = c.g
    names = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}
    for axis in range(c.rank()):
        before, after = int(known[axis]), int(known[axis + c.rank()])
        if before or after:
            size = c.sizes.here(node.inputs[0], axis)
            kept = np.pad(np.arange(size), (max(before, 0), max(after, 0)), mode=names[mode])  # type: ignore[call-overload]
            kept = kept[max(-before, 0) : len(kept) - max(-after, 0)]
            g = gather_back(g, axis, c.rank(), kept, size)
    return g


def gather_back(g: Value, axis: int, rank: int, places: np.ndarray, size: int) -> Value:
    """The adjoint of taking ``places`` along an axis of ``size``: each back to where it was, zeros elsewhere."""
    e = g.emit
    flat = np.asarray(places).reshape(-1) % size
    if len(flat) and np.array_equal(flat, np.arange(flat[0], flat[0] + len(flat))):
        pads = np.zeros((2, rank), np.int64)
        pads[:, axis] = flat[0], size - len(flat) - flat[0]
        return e.pad(g, [int(p) for p in pads.reshape(-1)]) if pads.any() else g
    if len(set(flat.tolist())) == len(flat):
        back = np.full(size, len(flat))
        back[flat] = np.arange(len(flat))
        pads = np.zeros((2, rank), np.int64)
        pads[1, axis] = 1
        source = e.pad(g, [int(p) for p in pads.reshape(-1)]) if len(flat) < size else g
        return e.op("Gather", source, e.ints([int(b) for b in back]), axis=axis)
    # several to one place: a product with a matrix of zeros and ones
    matrix = e.constant(np.eye(size)[flat], g.dtype)
    last = [*(i for i in range(rank) if i != axis), axis]
    return e.transpose(e.transpose(g, last) @ matrix, [int(i) for i in np.argsort(last)])


@adjoint_of("Slice", inputs=(0,))
def slice_(c: Call) -> Value:
    """Back to where it was cut out, zeros elsewhere."""
    node, g = c.node, c.g
    if c.emit.opset < 10:
        starts, ends = list(node.attr("starts")), list(node.attr("ends"))
        axes, steps = list(node.attr("axes", range(len(starts)))), [1] * len(starts)
    else:
        found = [c.sizes.value(node.input(i)) if c.has(i) else None for i in range(1, 5)]
        axes_known = found[2] if c.has(3) else np.arange(c.rank())[: len(found[0] if found[0] is not None else ())]
        if found[0] is None or found[1] is None or axes_known is None or (c.has(4) and found[3] is None):
            return _computed_slice(c)
        starts, ends, axes = [v.reshape(-1).tolist() for v in (found[0], found[1], axes_known)]
        steps = [1] * len(starts) if found[3] is None else found[3].reshape(-1).tolist()
    axes = [int(a) % c.rank() for a in axes]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = c.fixed()[axis]
        if size is None:
            if (start, step) == (0, 1) and end >= 2**31 - 1:
                continue
            return _computed_slice(c)
        g = gather_back(g, axis, c.rank(), np.arange(size)[start:end:step], size)
    return g


def _computed_slice(c: Call) -> Value:
    """Positions that are known only as it runs: the places along each axis are cut out as the numbers were."""
    e, g = c.emit, c.g
    if e.opset < 11:
        raise NoAdjoint("needs opset 11, which has ScatterElements")
    axes = [int(a) % c.rank() for a in c.known(3, "axes")] if c.has(3) else _leading(c)
    for at, axis in enumerate(axes):
        own = [e.slice(c.x(i), [at], [at + 1], [0]) for i in (1, 2)]
        size = e.size(c.x(), axis)
        step = [e.slice(c.x(4), [at], [at + 1], [0])] if c.has(4) else []
        places = e.op("Slice", e.arange(size), *own, e.ints([0]), *step)
        g = scatter_back(g, axis, c.rank(), places, size, add=False)
    return g


def _leading(c: Call) -> list[int]:
    starts = c.sizes.fixed(c.node.inputs[1])
    return list(range(int(starts[0] or 0)))


def scatter_back(g: Value, axis: int, rank: int, places: Value, size: Value, add: bool) -> Value:
    """As ``gather_back``, of places and a size that the running model computes."""
    e = g.emit
    dims = e.shape(g)
    before, after = e.slice(dims, [0], [axis], [0]), e.slice(dims, [axis + 1], [rank], [0])
    wide = e.reshape(places, [1] * axis + [-1] + [1] * (rank - axis - 1))
    zeros = e.zeros(e.concat([before, size, after], 0), g.dtype)
    if add and e.opset < 16:
        row = e.reshape(size, e.constant(np.zeros(0), 7))
        matrix = e.cast(e.op("OneHot", places, row, e.constant([0, 1], 1), dtype=1, axis=-1), g.dtype)
        last = [*(i for i in range(rank) if i != axis), axis]
        return e.transpose(e.transpose(g, last) @ matrix, [int(i) for i in np.argsort(last)])
    extra: dict[str, Any] = {"reduction": "add"} if add else {}
    return e.op("ScatterElements", zeros, e.expand(wide, dims), g, axis=axis, **extra)


@adjoint_of("DepthToSpace")
def depth_to_space(c: Call) -> Value:
    """Blocks back to channels."""
    block, e = int(c.node.attr("blocksize")), c.emit
    back = e.op("SpaceToDepth", c.g, blocksize=block)
    if c.node.attr("mode", "DCR") == "DCR":
        return back
    # the channels of a block lie inside those of the image
    dims = e.shape(back)
    batch, space = e.slice(dims, [0], [1], [0]), e.slice(dims, [2], [4], [0])
    apart = e.reshape(back, e.concat([batch, e.ints([block * block, -1]), space], 0))
    return e.reshape(e.transpose(apart, [0, 2, 1, 3, 4]), dims)


@adjoint_of("SpaceToDepth")
def space_to_depth(c: Call) -> Value:
    """Channels back to blocks."""
    return c.emit.op("DepthToSpace", c.g, blocksize=int(c.node.attr("blocksize")))
