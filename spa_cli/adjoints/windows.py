"""How a window moves over an image, and the adjoint of moving it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from spa_cli.adjoints.emitter import NoAdjoint, Value
from spa_cli.adjoints.table import Call


@dataclass(frozen=True)
class Window:
    """How a window moves over an image: one number per axis of the image, ``end`` as far as it is known."""

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    begin: list[int]
    end: list[int]

    @property
    def reach(self) -> list[int]:
        """How far a window goes."""
        return [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True)]

    @property
    def moves(self) -> bool:
        """Whether it moves by more than one."""
        return any(s != 1 for s in self.strides)


def window(c: Call, kernel: Sequence[int]) -> Window:
    """The window of a convolution or a pooling."""
    node, n = c.node, len(kernel)
    strides = [int(s) for s in node.attr("strides", [1] * n)]
    dilations = [int(d) for d in node.attr("dilations", [1] * n)]
    pads = [int(p) for p in node.attr("pads", [0] * 2 * n)]
    mode = node.attr("auto_pad", "NOTSET")
    if mode == "VALID":
        pads = [0] * 2 * n
    elif mode in ("SAME_UPPER", "SAME_LOWER"):
        for i in range(n):
            reach = (kernel[i] - 1) * dilations[i] + 1
            # a stride of one needs no size
            size = 0 if strides[i] == 1 else c.sizes.here(node.inputs[0], i + 2)
            total = reach - 1 if strides[i] == 1 else max((-(-size // strides[i]) - 1) * strides[i] + reach - size, 0)
            less, more = total // 2, total - total // 2
            pads[i], pads[i + n] = (less, more) if mode == "SAME_UPPER" else (more, less)
    return Window([int(k) for k in kernel], strides, dilations, pads[:n], pads[n:])


def kernel_of(c: Call) -> list[int]:
    """The size of the weight's window."""
    sizes = c.fixed(1)[2:]
    if None in sizes:
        raise NoAdjoint("the size of its window varies")
    return [int(s or 0) for s in sizes]


def spread(
    g: Value,
    weight: Value,
    w: Window,
    group: int,
    image: Value,
    sizes: Sequence[int | None],
    outs: Sequence[int | None],
) -> Value:
    """The adjoint of moving a window over ``image``: a transposed convolution that has its size.

    ``sizes`` and ``outs``: of the image and of what came of it, where they are always the same.
    """
    n, e = len(w.kernel), g.emit
    attrs: dict[str, Any] = {"strides": w.strides, "dilations": w.dilations, "group": group, "kernel_shape": w.kernel}
    if None not in sizes and None not in outs:
        end, more = [0] * n, [0] * n
        for i, (size, out) in enumerate(zip(sizes, outs, strict=True)):
            assert size is not None and out is not None
            full = (out - 1) * w.strides[i] + w.reach[i]
            end[i] = max(full - w.begin[i] - size, 0)
            more[i] = max(size + w.begin[i] - full, 0)
        if all(m < max(s, d) for m, s, d in zip(more, w.strides, w.dilations, strict=True)):
            return e.op("ConvTranspose", g, weight, pads=[*w.begin, *end], output_padding=more, **attrs)
        whole = e.op("ConvTranspose", g, weight, pads=[*w.begin, *end], **attrs)
        return e.pad(whole, [0] * (n + 2) + [0, 0, *more])
    if not w.moves:
        return e.op("ConvTranspose", g, weight, pads=[*w.begin, *w.end], **attrs)
    whole = e.op("ConvTranspose", g, weight, pads=[0] * 2 * n, **attrs)
    whole = e.pad(whole, [0] * (n + 2) + [0, 0, *(s + p for s, p in zip(w.strides, w.end, strict=True))])
    begin, now = e.ints(w.begin), e.slice(e.shape(image), [2], [n + 2], [0])
    return e.slice(whole, begin, now + begin, range(2, n + 2))


def window_of_transpose(c: Call, kernel: list[int]) -> Window:
    """The window of the convolution that a transposed one is the adjoint of."""
    n, node = len(kernel), c.node
    mode = node.attr("auto_pad", "NOTSET")
    if node.attr("output_shape") is None and mode in ("NOTSET", "VALID"):
        # rows that output_padding adds behind are read by no window
        return window(c, kernel)
    strides = [int(s) for s in node.attr("strides", [1] * n)]
    dilations = [int(d) for d in node.attr("dilations", [1] * n)]
    more = [int(p) for p in node.attr("output_padding", [0] * n)]
    begin, end = [], []
    for i in range(n):
        size, out = c.sizes.here(node.inputs[0], i + 2), c.sizes.here(node.outputs[0], i + 2)
        # an output larger than the windows reach has rows behind that none reads
        total = max((size - 1) * strides[i] + more[i] + (kernel[i] - 1) * dilations[i] + 1 - out, 0)
        less = total // 2
        begin.append(total - less if mode != "SAME_UPPER" else less)
        end.append(total - begin[-1])
    return Window(kernel, strides, dilations, begin, end)
