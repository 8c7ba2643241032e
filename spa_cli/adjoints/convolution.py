"""Convolutions and their transposes: each is the other's adjoint."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from spa_cli.adjoints.emitter import Value
from spa_cli.adjoints.table import Call, Gradient, adjoint_of
from spa_cli.adjoints.windows import Window, kernel_of, spread, window, window_of_transpose


@adjoint_of("Conv")
def conv(c: Call) -> Mapping[int, Gradient]:
    """In the image a transposed convolution, in the weight a product of what its window saw and cotangents."""
    w, group = window(c, kernel_of(c)), int(c.node.attr("group", 1))

    def image() -> Value:
        through = _through_point(c, w, group)
        if through is not None:
            return through
        inside = all(p < r for p, r in zip(w.begin + w.end, w.reach * 2, strict=True))
        turned = None if w.moves or not inside else _turned(c, w, group)
        if turned is None:
            outs = c.sizes.fixed(c.node.outputs[0])[2:]
            return spread(c.g, c.x(1), w, group, c.x(), c.fixed()[2:], outs)
        # a window that moves by one: a convolution with the weight turned round, which onnxruntime is faster at
        pads = [r - 1 - p for r, p in zip(w.reach * 2, w.begin + w.end, strict=True)]
        return c.emit.op("Conv", c.g, turned, kernel_shape=w.kernel, dilations=w.dilations, group=group, pads=pads)

    return {
        0: image,
        1: lambda: _of_weight(c, c.x(), c.g, w, group),
        2: lambda: c.emit.reduce(c.g, [i for i in range(len(w.kernel) + 2) if i != 1], keepdims=False),
    }


def _through_point(c: Call, w: Window, group: int) -> Value | None:
    """Of a window that sees one position, all of them: a product, for which nothing has to be turned."""
    e, (out, per) = c.emit, c.fixed(1)[:2]
    if max(w.kernel) > 1 or w.moves or any((*w.begin, *w.end)) or group > 1 or out is None or per is None:
        return None
    weight = e.transpose(e.reshape(c.x(1), [out, per]), [1, 0])
    return e.reshape(weight @ e.reshape(c.g, [0, out, -1]), e.shape(c.x()))


def _turned(c: Call, w: Window, group: int) -> Value | None:
    """The weight with inputs for outputs and the window turned round; ``None`` where that can't be said."""
    e, weight, (out, per) = c.emit, c.sizes.array(c.node.inputs[1]), c.fixed(1)[:2]
    if weight is not None:
        split = weight.reshape(group, weight.shape[0] // group, *weight.shape[1:])
        turned = np.flip(split.swapaxes(1, 2), tuple(range(3, split.ndim)))
        return e.constant(turned.reshape(-1, split.shape[1], *w.kernel), c.x(1).dtype)
    if out is None or per is None or e.opset < 10:
        return None
    found = e.transpose(e.reshape(c.x(1), [group, out // group, per, -1]), [0, 2, 1, 3])
    found = e.reshape(found, [group * per, out // group, *w.kernel])
    wide, back = [i + 2 for i, k in enumerate(w.kernel) if k > 1], [-k - 1 for k in w.kernel if k > 1]
    return e.slice(found, [-1] * len(wide), back, wide, [-1] * len(wide)) if wide else found


def _of_weight(c: Call, image: Value, g: Value, w: Window, group: int) -> Value:
    """The gradient in a weight: the product of cotangents and of what the window saw, summed over all its places."""
    e, (out, per), point = c.emit, c.fixed(1)[:2], max(w.kernel) == 1 and not w.moves
    # of a window over one channel a product has one row: slower than a convolution
    if out is None or per is None or not (point or (per > 1 and e.opset >= 10)):
        return _as_convolution(c, image, g, w, group)
    if any((*w.begin, *w.end)):
        image = e.pad(image, [0, 0, *w.begin, 0, 0, *w.end])
    rows, places, alone = out // group, math.prod(w.kernel), c.fixed()[0] == 1
    if point:
        return e.reshape(_product(_apart(g, group, rows), _apart(image, group, per), alone), [out, per, *w.kernel])
    if w.moves or per <= rows:
        seen, felt = (_every_place(image, g, w), g) if w.moves else _shifted(image, g, w)
        moved, still, order = per, rows, [0, 3, 2, 1]
    else:
        # the narrower of the two is moved about: fewer copies of the same sum
        seen, felt = _against(image, g, w), image
        moved, still, order = rows, per, [0, 2, 3, 1]
    every = e.concat([_apart(v, group, moved) for v in seen], 2)
    found = e.reshape(_product(every, _apart(felt, group, still), alone), [group, places, moved, still])
    return e.reshape(e.transpose(found, order), [out, per, *w.kernel])


def _apart(value: Value, group: int, each: int) -> Value:
    """(samples, groups, channels of each, positions)."""
    return value.emit.reshape(value, [0, group, each, -1])


def _product(a: Value, b: Value, alone: bool) -> Value:
    """Over samples (``alone``: one) and positions: (groups, channels of ``a``, of ``b``)."""
    found = a @ a.emit.transpose(b, [0, 1, 3, 2])
    # onnxruntime takes its time for a sum of one
    return a.emit.squeeze(found, [0]) if alone else a.emit.reduce(found, [0], keepdims=False)


def _every_place(image: Value, g: Value, w: Window) -> list[Value]:
    """For every place inside the window, row by row, what lies there at each of its positions."""
    e, n = image.emit, len(w.kernel)
    strides, one = e.ints(w.strides), e.ints([1] * n)
    # behind the last position that counts
    reach = (e.slice(e.shape(g), [2], [n + 2], [0]) - one) * strides + one
    return [e.slice(image, at, reach + e.ints(at), range(2, n + 2), w.strides) for at in _places(w)]


def _shifted(image: Value, g: Value, w: Window) -> tuple[list[Value], Value]:
    """The same where it moves by one: pieces of the flat image, which are copied fast; and the cotangents, with zeros
    where rows end in between.
    """
    e, offset = image.emit, _offsets(image, w)
    reach = [r - 1 for r in w.reach]
    flat, wide = (e.reshape(v, [0, 0, -1]) for v in (image, e.pad(g, [0] * (len(w.kernel) + 4) + reach)))
    length = e.size(flat, 2) - offset(reach)
    pieces = [e.slice(flat, start, start + length, [2]) for start in map(offset, _places(w))]
    return pieces, e.slice(wide, [0], length, [2])


def _against(image: Value, g: Value, w: Window) -> list[Value]:
    """Instead, for every place inside the window, the cotangent of the position that saw the image there."""
    e, offset, n = image.emit, _offsets(image, w), len(w.kernel)
    reach = [r - 1 for r in w.reach]
    # rows in front, of which a piece may begin in the last
    front = reach[0] + any(reach[1:])
    wide = e.reshape(e.pad(g, [0, 0, front, *[0] * (n + 1), *reach]), [0, 0, -1])
    begin, length = offset([front] + [0] * (n - 1)), e.size(e.reshape(image, [0, 0, -1]), 2)
    starts = (begin - offset(at) for at in _places(w))
    return [e.slice(wide, start, start + length, [2]) for start in starts]


def _offsets(image: Value, w: Window) -> Callable[[Sequence[int]], Value]:
    """How far positions lie from the first one, in the flat image."""
    e, n = image.emit, len(w.kernel)
    pitch = [e.ints([1])] * n
    for i in reversed(range(n - 1)):
        pitch[i] = pitch[i + 1] * e.size(image, i + 3)
    return lambda at: e.total([p * float(i) for i, p in zip(at, pitch, strict=True)])


def _places(w: Window) -> list[list[int]]:
    return [[i * d for i, d in zip(at, w.dilations, strict=True)] for at in np.ndindex(*w.kernel)]


def _as_convolution(c: Call, image: Value, g: Value, w: Window, group: int) -> Value:
    """That gradient as a convolution in which samples are summed over as channels are."""
    e, n = c.emit, len(w.kernel)
    space = list(range(2, n + 2))
    dims = e.slice(e.shape(image), [2], [n + 2], [0])
    turned = e.transpose(image, [1, 0, *space])
    if group > 1:
        batch, wide = e.size(image, 0), e.size(image, 1)
        per = wide / e.ints([group])
        apart = e.reshape(turned, e.concat([e.ints([group]), per, batch, dims], 0))
        apart = e.transpose(apart, [1, 0, 2, *(s + 1 for s in space)])
        turned = e.reshape(apart, e.concat([per, e.ints([-1]), dims], 0))
    kernel = e.transpose(g, [1, 0, *space])
    pads = [*w.begin, *w.end]
    found = e.op("Conv", turned, kernel, strides=w.dilations, dilations=w.strides, group=group, pads=pads)
    found = e.slice(found, [0] * n, w.kernel, space)
    return e.transpose(found, [1, 0, *space])


@adjoint_of("ConvTranspose")
def conv_transpose(c: Call) -> Mapping[int, Gradient]:
    """A convolution with the same weight."""
    kernel, group = kernel_of(c), int(c.node.attr("group", 1))
    n = len(kernel)
    w = window_of_transpose(c, kernel)

    def image() -> Value:
        return c.emit.op(
            "Conv",
            c.g,
            c.x(1),
            kernel_shape=kernel,
            strides=w.strides,
            dilations=w.dilations,
            group=group,
            pads=[*w.begin, *w.end],
        )

    return {
        0: image,
        1: lambda: _of_weight(c, c.g, c.x(), w, group),
        2: lambda: c.emit.reduce(c.g, [i for i in range(n + 2) if i != 1], keepdims=False),
    }
