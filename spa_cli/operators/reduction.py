"""Reductions over axes, and operators that order or accumulate along one."""

from __future__ import annotations

import numpy as np

from spa_cli.channels.state import Axis, Channels, Decline
from spa_cli.graph.model import Node
from spa_cli.operators.registry import APPROXIMATE, BOTH, MICROSOFT, like_first, register

_SUMS = frozenset({"ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare"})
_MIXES = frozenset({"ReduceProd", "ReduceLogSum", "ReduceLogSumExp"})


@register(*sorted(_SUMS))
@register("ReduceMean ReduceMax ReduceMin", behaviour=APPROXIMATE)
@register(*sorted(_MIXES))
def reduce(node: Node, state: Channels) -> None:
    """Sums don't notice a zero channel, means and extremes may."""
    x = state.of(node.inputs[0])
    over = _reduced(node, state, len(x))
    for at in over:
        if node.op in _MIXES:
            state.freeze(x[at], f"{node.op} runs over it")
        elif node.op not in _SUMS or not x[at].zero:
            state.inexact(x[at], f"{node.op} runs over it")
    keep = bool(node.attr("keepdims", 1))
    result = []
    for i, axis in enumerate(x):
        if i not in over:
            result.append(axis.with_zero(axis.zero and node.op not in _MIXES))
        elif keep:
            result.append(state.static(1, f"{node.op} leaves one"))
    state.set(node.outputs[0], result)


def _reduced(node: Node, state: Channels, rank: int) -> set[int]:
    axes = node.attr("axes")
    if axes is None and node.input(1):
        value = state.value(node.inputs[1])
        if value is None:
            raise Decline("the axes it reduces are computed")
        axes = np.ravel(value)
    if axes is None or len(axes) == 0:
        return set() if node.attr("noop_with_empty_axes", 0) else set(range(rank))
    return {int(a) % rank for a in axes}


@register("ArgMax", "ArgMin")
def argmax(node: Node, state: Channels) -> None:
    """Its result counts positions."""
    x = state.of(node.inputs[0])
    at = int(node.attr("axis", 0)) % len(x)
    state.freeze(x[at], f"{node.op} counts positions along it")
    result = [a.with_zero(False) for a in x]
    result[at : at + 1] = [state.static(1, f"{node.op} leaves one")] if node.attr("keepdims", 1) else []
    state.set(node.outputs[0], result)


@register("TopK")
def topk(node: Node, state: Channels) -> None:
    """Picks along one axis by value."""
    x = state.of(node.inputs[0])
    at = int(node.attr("axis", -1)) % len(x)
    state.freeze(x[at], "TopK picks along it")
    for name in node.outputs:
        if name:
            sizes = state.shapes.shape.get(name)
            picked = state.static(sizes[at] if sizes else None, "TopK picks along it")
            state.set(name, [picked if i == at else a.with_zero(False) for i, a in enumerate(x)])


@register("CumSum", "CumProd", "ReverseSequence")
def along(node: Node, state: Channels) -> None:
    """Every position depends on those before it."""
    x = state.of(node.inputs[0])
    if node.op == "ReverseSequence":
        over = {int(node.attr("time_axis", 0)), int(node.attr("batch_axis", 1))}
    else:
        value = state.value(node.inputs[1])
        over = set(range(len(x))) if value is None else {int(np.ravel(value)[0]) % len(x)}
    for at in over:
        state.freeze(x[at], f"{node.op} runs along it")
    state.set(node.outputs[0], [a.with_zero(a.zero and node.op != "CumProd") for a in x])


@register("Trilu", domain=BOTH, shape=like_first)
def trilu(node: Node, state: Channels) -> None:
    """A triangle of the last two axes: their positions matter."""
    x = list(state.of(node.inputs[0]))
    for axis in x[-2:]:
        state.freeze(axis, "Trilu compares its positions")
    state.set(node.outputs[0], x)


@register("Det")
@register("Inverse", domain=MICROSOFT, shape=like_first)
def matrix_function(node: Node, state: Channels) -> None:
    """Mixes both matrix axes."""
    x = state.of(node.inputs[0])
    for axis in x[-2:]:
        state.freeze(axis, f"{node.op} mixes it")
    kept = x if node.op == "Inverse" else x[:-2]
    state.set(node.outputs[0], [a.with_zero(False) for a in kept])


@register("STFT", "DFT")
def fourier(node: Node, state: Channels) -> None:
    """Mixes the signal axis."""
    x = state.of(node.inputs[0])
    for name in node.inputs:
        for axis in state.axes.get(name, [])[1:] if name == node.inputs[0] else state.axes.get(name, []):
            state.freeze(axis, f"{node.op} mixes it")
    sizes = state.shapes.shape.get(node.outputs[0])
    if sizes is None:
        raise Decline("the size of its output is not known")
    result: list[Axis] = [state.static(s, f"{node.op} makes it") for s in sizes]
    state.set(node.outputs[0], [x[0].with_zero(False), *result[1:]])
