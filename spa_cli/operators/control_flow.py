"""If, Loop and Scan: their bodies are graphs of their own, which read the tensors around them."""

from __future__ import annotations

import numpy as np

from spa_cli.channels.state import Axis, Channels, Decline
from spa_cli.graph.control_flow import carried, scanned_inputs, scanned_outputs, taken
from spa_cli.graph.model import Body, Node
from spa_cli.operators.registry import register
from spa_cli.operators.relate import relate


@register("If")
def if_(node: Node, state: Channels) -> None:
    """Both branches give the same channels; where they differ in rank, the one that is known to run counts."""
    _scalars(node, state, (0,))
    for body in node.bodies:
        _follow(state, body)
    at = taken(node, state.value)
    for name, *ends in zip(node.outputs, *(b.outputs for b in node.bodies), strict=True):
        if at is None:
            state.set(name, _joined(node, state, [state.of(e) for e in ends]))
            continue
        chosen = state.of(ends[at])
        others = [axes for e in ends if (axes := state.axes.get(e)) is not None]
        if np.any(state.shapes.varying.get(node.inputs[0], False)):
            # at other sizes another branch runs: only what all of them hand through is the same
            for other in (axes for axes in others if not _alike(axes, chosen)):
                for a, b in ((other, chosen), (chosen, other)):
                    for axis in a:
                        if not any(axis.rows is same.rows for same in b):
                            state.freeze(axis, f"differs between the branches of {node.op}")
        state.set(name, _joined(node, state, [chosen, *(axes for axes in others if _alike(axes, chosen))]))


@register("Loop")
def loop(node: Node, state: Channels) -> None:
    """What is carried along keeps its channels from one turn to the next; what is stacked up gets a new first axis."""
    _scalars(node, state, (0, 1))
    (body,) = node.bodies
    for name in body.inputs[:2]:
        state.set(name, [])
    _around_and_around(node, state, body)
    state.of(body.outputs[0])


@register("Scan")
def scan(node: Node, state: Channels) -> None:
    """A Loop over an axis of some inputs."""
    if node.version < 9:
        raise Decline("Scan before opset 9 is not followed")
    (body,) = node.bodies
    for tensor, inner, at in scanned_inputs(node):
        axes = list(state.of(tensor))
        state.freeze(axes.pop(at % len(axes)), "Scan runs along it")
        state.set(inner, [a.with_zero(False) for a in axes])
    _around_and_around(node, state, body)


def _around_and_around(node: Node, state: Channels, body: Body) -> None:
    silent = {inner: [a.zero for a in state.of(outer)] for outer, inner, _, _ in carried(node)}
    while True:
        for outer, inner, end, _ in carried(node):
            axes, sizes = state.of(outer), state.shapes.shape.get(inner)
            if sizes is None:
                raise Decline(f"the shape of '{inner}', which {node.op} carries along, is not known")
            given = zip(axes, sizes, silent[inner], strict=True)
            state.set(inner, [_entering(node, state, axis, size, zero) for axis, size, zero in given])
            if inner == end and outer in state.sources:
                state.sources[inner] = state.sources[outer]
        _follow(state, body)
        # what a turn makes of it, the next one takes: zero only if it still is after a turn
        after = {
            inner: [z and e.zero for z, e in zip(silent[inner], state.of(end), strict=True)]
            for _, inner, end, _ in carried(node)
        }
        if after == silent:
            break
        silent = after
    for outer, inner, end, result in carried(node):
        start = [a.with_zero(o.zero) for a, o in zip(state.of(inner), state.of(outer), strict=True)]
        state.set(result, _joined(node, state, [start, state.of(end)]))
    for end, result, at in scanned_outputs(node):
        axes = state.of(end)
        sizes = state.shapes.shape.get(result)
        at %= len(axes) + 1
        turns = state.static(sizes[at] if sizes else None, f"counts the turns of {node.op}")
        state.set(result, [*axes[:at], turns, *axes[at:]])


def _entering(node: Node, state: Channels, axis: Axis, size: int | None, zero: bool) -> Axis:
    if size == axis.size and size is not None:
        return axis.with_zero(zero)
    state.freeze(axis, f"changes its size in {node.op}")
    return state.static(None, f"changes its size in {node.op}")


def _follow(state: Channels, body: Body) -> None:
    for node in body.nodes:
        relate(state, node)


def _joined(node: Node, state: Channels, ends: list[list[Axis]]) -> list[Axis]:
    """Axes of a tensor that is one of several: the same channels of each."""
    if len({len(axes) for axes in ends}) != 1:
        raise Decline(f"what {node.op} gives has a rank that depends on the data")
    result = []
    for axes in zip(*ends, strict=True):
        if len({a.size for a in axes}) != 1 or axes[0].size is None:
            for axis in axes:
                state.freeze(axis, f"has a size that depends on the data in {node.op}")
            result.append(state.static(None, f"has a size that depends on the data in {node.op}"))
            continue
        result.append(state.together(axes).with_zero(all(a.zero for a in axes)))
    return result


def _alike(a: list[Axis], b: list[Axis]) -> bool:
    return [axis.size for axis in a] == [axis.size for axis in b]


def _scalars(node: Node, state: Channels, inputs: tuple[int, ...]) -> None:
    for index in inputs:
        state.freeze_tensor(node.input(index), f"{node.op} reads it as a setting")
