"""Operators that move values about. Imported once torch is known to be there (``families``)."""

from __future__ import annotations

import math
from typing import Any

import torch

from spa_cli.gradients.operators import Call, Tensor, ints, operator


@operator("Identity", "Dropout")
def identity(call: Call, x: Tensor, *_: Tensor) -> Any:
    """Dropout is off: the network is differentiated as it infers."""
    return (x, torch.ones_like(x, dtype=torch.bool)) if call.outputs > 1 else x


@operator("Reshape")
def reshape(call: Call, x: Tensor, given: Tensor = None) -> Tensor:
    """0 keeps a size unless ``allowzero``."""
    shape = list(call.attr("shape", [])) if given is None else ints(given)
    if not call.attr("allowzero", 0):
        shape = [x.shape[i] if size == 0 else size for i, size in enumerate(shape)]
    return x.reshape(shape)


@operator("Flatten")
def flatten(call: Call, x: Tensor) -> Tensor:
    """Two axes: those before ``axis``, and the rest."""
    axis = call.attr("axis", 1)
    axis = axis + x.dim() if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@operator("Squeeze")
def squeeze(call: Call, x: Tensor, given: Tensor = None) -> Tensor:
    """Without axes: all of size 1."""
    axes = call.attr("axes") if given is None else ints(given)
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


@operator("Unsqueeze")
def unsqueeze(call: Call, x: Tensor, given: Tensor = None) -> Tensor:
    """Axes count in the result."""
    axes = list(call.attr("axes", [])) if given is None else ints(given)
    for axis in sorted(a % (x.dim() + len(axes)) for a in axes):
        x = x.unsqueeze(axis)
    return x


@operator("Shape")
def shape_of(call: Call, x: Tensor) -> Tensor:
    """Sizes; only where data decides them: all others are known before (``static``)."""
    return torch.tensor(list(x.shape[call.attr("start", 0) : call.attr("end", None)]), dtype=torch.int64)


@operator("Size")
def size_of(call: Call, x: Tensor) -> Tensor:
    """Number of elements."""
    return torch.tensor(x.numel())


@operator("Transpose")
def transpose(call: Call, x: Tensor) -> Tensor:
    """Without ``perm``: axes in reverse."""
    return x.permute(call.attr("perm") or list(range(x.dim()))[::-1])


@operator("Expand")
def expand(call: Call, x: Tensor, shape: Tensor) -> Tensor:
    """Broadcast both ways."""
    return x.expand(torch.broadcast_shapes(tuple(x.shape), tuple(ints(shape))))


@operator("Slice")
def slice_(
    call: Call, x: Tensor, starts: Tensor = None, ends: Tensor = None, axes: Tensor = None, steps: Tensor = None
) -> Tensor:
    """Positions in attributes before opset 10, in inputs since; a negative step walks backwards."""
    begin = list(call.attr("starts", [])) if starts is None else ints(starts)
    end = list(call.attr("ends", [])) if ends is None else ints(ends)
    along = call.attr("axes", range(len(begin))) if axes is None else ints(axes)
    step = [1] * len(begin) if steps is None else ints(steps)
    for b, e, axis, s in zip(begin, end, along, step, strict=True):
        taken = range(x.shape[axis])[b:e:s]  # positions beyond an end mean the same here and in ONNX
        if s == 1:
            x = x.narrow(axis, taken.start if len(taken) else 0, len(taken))
        else:
            x = x.index_select(axis, torch.tensor(list(taken), dtype=torch.int64))
    return x


@operator("Split")
def split(call: Call, x: Tensor, given: Tensor = None) -> Any:
    """Sizes in an attribute before opset 13; without any, equal parts of which the last may be smaller."""
    axis = call.attr("axis", 0)
    sizes = call.attr("split") if given is None else ints(given)
    if sizes is None:
        each = -(-x.shape[axis] // call.outputs)
        sizes = [each] * (call.outputs - 1) + [x.shape[axis] - each * (call.outputs - 1)]
    parts = tuple(torch.split(x, list(sizes), axis))
    return parts if call.outputs > 1 else parts[0]


@operator("Gather")
def gather(call: Call, x: Tensor, at: Tensor) -> Tensor:
    """Negative indices count from the end."""
    axis = call.attr("axis", 0) % x.dim()
    flat = at.reshape(-1).long()
    taken = x.index_select(axis, torch.where(flat < 0, flat + x.shape[axis], flat))
    return taken.reshape([*x.shape[:axis], *at.shape, *x.shape[axis + 1 :]])


@operator("GatherElements")
def gather_elements(call: Call, x: Tensor, at: Tensor) -> Tensor:
    """Negative indices count from the end."""
    axis = call.attr("axis", 0)
    at = at.long()
    at = torch.where(at < 0, at + x.shape[axis], at)
    inside = tuple(slice(None) if i == axis % x.dim() else slice(n) for i, n in enumerate(at.shape))
    return torch.gather(x[inside], axis, at)


@operator("GatherND")
def gather_nd(call: Call, x: Tensor, at: Tensor) -> Tensor:
    """The last axis of the indices says where, after ``batch_dims`` leading axes that go together."""
    batch = call.attr("batch_dims", 0)
    index: list[Tensor] = []
    for i in range(batch):
        index.append(torch.arange(x.shape[i]).reshape(-1, *[1] * (at.dim() - 2 - i)))
    return x[(*index, *at.long().unbind(-1))]


@operator("ScatterND")
def scatter_nd(call: Call, x: Tensor, at: Tensor, updates: Tensor) -> Tensor:
    """Set, or add, what the last axis of the indices points to."""
    how = call.attr("reduction", "none")
    if how not in ("none", "add"):
        raise NotImplementedError(f"ScatterND that reduces by {how}")
    return x.index_put(tuple(at.long().unbind(-1)), updates, accumulate=how == "add")


@operator("ScatterElements", "Scatter")
def scatter_elements(call: Call, x: Tensor, at: Tensor, updates: Tensor) -> Tensor:
    """Set or reduce along an axis."""
    axis, how = call.attr("axis", 0), call.attr("reduction", "none")
    at = at.long()
    at = torch.where(at < 0, at + x.shape[axis], at)
    if how == "none":
        return x.scatter(axis, at, updates)
    name = {"add": "sum", "mul": "prod", "min": "amin", "max": "amax"}[how]
    return x.scatter_reduce(axis, at, updates, name)


@operator("OneHot")
def one_hot(call: Call, at: Tensor, depth: Tensor, values: Tensor) -> Tensor:
    """``values`` are what stands off and on the index."""
    count, axis = int(depth.reshape(-1)[0]), call.attr("axis", -1)
    hot = (at.long() % count).unsqueeze(-1) == torch.arange(count)
    return torch.where(hot, values[1], values[0]).movedim(-1, axis)


@operator("SpaceToDepth")
def space_to_depth(call: Call, x: Tensor) -> Tensor:
    """Blocks of positions become channels."""
    n, c, h, w = x.shape
    b = call.attr("blocksize")
    x = x.reshape(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4)
    return x.reshape(n, c * b * b, h // b, w // b)


@operator("DepthToSpace")
def depth_to_space(call: Call, x: Tensor) -> Tensor:
    """Channels become blocks of positions; which channels are one block's, ``mode`` says."""
    n, c, h, w = x.shape
    b = call.attr("blocksize")
    if call.attr("mode", "DCR") == "DCR":
        x = x.reshape(n, b, b, c // b**2, h, w).permute(0, 3, 4, 1, 5, 2)
    else:
        x = x.reshape(n, c // b**2, b, b, h, w).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(n, c // b**2, h * b, w * b)


@operator("Trilu")
def trilu(call: Call, x: Tensor, k: Tensor = None) -> Tensor:
    """A triangle of the last two axes."""
    diagonal = 0 if k is None else int(k.reshape(-1)[0])
    return torch.triu(x, diagonal) if call.attr("upper", 1) else torch.tril(x, diagonal)


@operator("Crop")
def crop(call: Call, x: Tensor) -> Tensor:
    """Border as (left, top, right, bottom), or its beginning and a ``scale`` to keep."""
    left, top, right, bottom = call.attr("border")
    kept = call.attr("scale")
    height, width = kept or (x.shape[2] - top - bottom, x.shape[3] - left - right)
    return x[:, :, top : top + height, left : left + width]
