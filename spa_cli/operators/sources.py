"""Operators that make a tensor from a shape, a range or nothing."""

from __future__ import annotations

from spa_cli.channels.state import Axis, Channels, Decline
from spa_cli.graph.model import Node
from spa_cli.graph.zeros import fill_of
from spa_cli.operators.registry import FROZEN, MICROSOFT, register
from spa_cli.operators.sizes import rewrite_sizes


@register("Shape", "Size")
def shape_of(node: Node, state: Channels) -> None:
    """Reads sizes, not channels: surgery checks afterwards what is computed from them."""
    state.read.update(node.inputs)
    rank = [] if node.op == "Size" else [state.static(d, "holds a shape") for d in state.shape(node.outputs[0])]
    state.set(node.outputs[0], rank)


@register("ConstantOfShape", rewrite=lambda node, cut: rewrite_sizes(node, cut, 0))
def constant_of_shape(node: Node, state: Channels) -> None:
    """A constant block: it takes whatever size is asked of it (initial states, channel padding)."""
    state.set(node.outputs[0], new_axes(node, state, state.shape(node.outputs[0]), not fill_of(node)))


def new_axes(node: Node, state: Channels, shape: tuple[int, ...], zero: bool) -> list[Axis]:
    """Axes that exist only because a size says so."""
    return [state.fresh(d, zero) if d > 1 else state.static(d, "has a single channel") for d in shape]


@register("Range", settings=(0, 1, 2))
@register("Constant RandomNormal RandomUniform HammingWindow HannWindow BlackmanWindow MelWeightMatrix")
@register("Range", domain=MICROSOFT)
@register("NonZero Unique NonMaxSuppression StringNormalizer", behaviour=FROZEN)
@register("Unique", domain=MICROSOFT, behaviour=FROZEN)
def source(node: Node, state: Channels) -> None:
    """Its size follows from values, so nothing of it can be removed; what it reads stays."""
    for name in node.inputs:
        for axis in state.axes.get(name, []):
            state.freeze(axis, f"{node.op} reads it as data")
    for name in node.outputs:
        if name:
            shape = state.shapes.shape.get(name)
            if shape is None:
                raise Decline(f"the size of what {node.op} gives depends on the data")
            state.set(name, [state.static(d, f"its size is made by {node.op}") for d in shape])
