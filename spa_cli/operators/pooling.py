"""Pooling and resizing: channels pass, space is mixed."""

from __future__ import annotations

import numpy as np

from spa_cli.channels.state import Channels, Decline
from spa_cli.graph.model import Node
from spa_cli.operators.convolution import WINDOW
from spa_cli.operators.registry import APPROXIMATE, MICROSOFT, register
from spa_cli.surgery.cut import Cut


@register("GlobalAveragePool GlobalMaxPool GlobalLpPool", behaviour=APPROXIMATE)
def global_pool(node: Node, state: Channels) -> None:
    """A mean, maximum or norm over all axes behind the second (tf2onnx writes LayerNorm's mean so)."""
    x = state.of(node.inputs[0])
    for axis in x[2:]:
        if node.op != "GlobalLpPool" or not axis.zero:
            state.inexact(axis, f"{node.op} runs over it")
    state.set(node.outputs[0], [*x[:2], *(state.static(1, f"{node.op} leaves one") for _ in x[2:])])


def rewrite_unpool(node: Node, cut: Cut) -> None:
    """``output_shape`` names every axis."""
    if node.input(2):
        _name_sizes(node, cut, 2, dict(enumerate(cut.shape(node.outputs[0]))))


def _name_sizes(node: Node, cut: Cut, index: int, wanted: dict[int, int]) -> None:
    current = cut.value(node.inputs[index])
    cut.set_elements(
        node, index, {i: d for i, d in wanted.items() if current is None or int(np.ravel(current)[i]) != d}
    )


@register("AveragePool MaxPool LpPool")
@register("MaxUnpool", rewrite=rewrite_unpool)
@register("GridSample", "RoiAlign", "MaxRoiPool")
@register("Crop")
@register("GridSample CropAndResize MaxpoolWithMask", domain=MICROSOFT)
def pool(node: Node, state: Channels) -> None:
    """Channels pass, space is mixed."""
    x = state.of(node.inputs[0])
    for axis in x[2:]:
        state.freeze(axis, WINDOW)
    others = [a for name in node.inputs[1:] if name for a in state.of(name)]
    if node.op == "MaxUnpool":
        state.unify(x[1], state.of(node.inputs[1])[1])
        others = state.of(node.inputs[1])[2:]
    for axis in others:
        state.freeze(axis, f"{node.op} reads it as positions")
    for name in node.outputs:
        if name:
            sizes = state.shapes.shape.get(name)
            if sizes is None:
                raise Decline("the size of its output is not known")
            batch = x[0] if sizes[0] == x[0].size else state.static(sizes[0], f"{node.op} makes it")
            state.set(name, [batch, x[1], *(state.static(d, WINDOW) for d in sizes[2:])])


@register("CenterCropPad")
def center_crop_pad(node: Node, state: Channels) -> None:
    """Axes that keep their size pass, the others are cut or filled around their middle."""
    x, sizes = state.of(node.inputs[0]), state.shapes.shape.get(node.outputs[0])
    if sizes is None:
        raise Decline("the size of its output is not known")
    given = node.attr("axes")
    named = set(range(len(x))) if given is None else {int(a) % len(x) for a in given}
    for at in named:
        state.freeze(x[at], "CenterCropPad names its size")
    state.set(
        node.outputs[0],
        [state.static(sizes[i], "CenterCropPad names its size") if i in named else a for i, a in enumerate(x)],
    )


def rewrite_resize(node: Node, cut: Cut) -> None:
    """``sizes`` names every axis, or those of ``axes``."""
    if not node.input(3):
        return
    axes = node.attr("axes") or list(range(len(cut.shape(node.outputs[0]))))
    _name_sizes(node, cut, 3, {i: cut.shape(node.outputs[0])[a] for i, a in enumerate(axes)})


@register("Resize", rewrite=rewrite_resize, settings=(1, 2))
@register("Upsample", settings=(1,))
def resize(node: Node, state: Channels) -> None:
    """Axes that keep their size pass, the others are mixed."""
    x = state.of(node.inputs[0])
    sizes = state.shapes.shape.get(node.outputs[0])
    if sizes is None or len(sizes) != len(x):
        raise Decline("the size of its output is not known")
    result = []
    for axis, size in zip(x, sizes, strict=True):
        if size == axis.size and size is not None:
            result.append(axis)
        else:
            state.freeze(axis, WINDOW)
            result.append(state.static(size, WINDOW))
    state.set(node.outputs[0], result)
