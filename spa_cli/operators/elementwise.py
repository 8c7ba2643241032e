"""Operators that work element by element, with NumPy broadcasting between inputs."""

from __future__ import annotations

import math

import numpy as np

from spa_cli.channels.state import PASS_THROUGH, Axis, Channels, Decline
from spa_cli.graph.known import Read
from spa_cli.graph.model import Array, Node
from spa_cli.graph.shapes import reference
from spa_cli.graph.zeros import only_zeros
from spa_cli.operators.registry import MICROSOFT, like_first, register

# product-like: zero as soon as one factor is
_ABSORBING = frozenset({"Mul", "And", "BitwiseAnd", "SwiGLU"})
# undefined or infinite at zero: a zeroed channel would poison what it is multiplied with
_SINGULAR = frozenset({"Log", "Reciprocal"})


def _hard_sigmoid(node: Node, read: Read) -> tuple[float, float] | None:
    alpha, beta = float(node.attr("alpha", 0.2)), float(node.attr("beta", 0.5))
    return (-beta / alpha, (1 - beta) / alpha) if alpha > 0 else None


def _clip(node: Node, read: Read) -> tuple[float, float] | None:
    """Its bounds are attributes in old versions, inputs in new ones."""
    bounds = []
    for at, name, default in ((1, "min", -math.inf), (2, "max", math.inf)):
        value = read(node.input(at)) if node.input(at) else np.array(node.attr(name, default))
        if value is None:
            return None
        bounds.append(float(value.reshape(-1)[0]))
    return bounds[0], bounds[1]


@register("Relu", flat=lambda node, read: (0.0, math.inf))
@register("HardSwish", flat=lambda node, read: (-3.0, math.inf))
@register("HardSigmoid", flat=_hard_sigmoid)
@register("Clip", flat=_clip, settings=(1, 2))
@register(
    "Abs Add Celu Div Elu Erf Exp Identity LeakyRelu Mish Mul Neg PRelu Pow Reciprocal Selu Sigmoid Softplus Softsign "
    "Sqrt Sub Swish Tanh ThresholdedRelu",
)
@register(
    "Acos Acosh And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Cos "
    "Cosh Equal Floor Greater GreaterOrEqual IsInf IsNaN Less LessOrEqual Log Max Mean Min Mod Not Or Round Shrink "
    "Sign Sin Sinh Sum Tan Where Xor"
)
@register("Gelu", shape=like_first)
@register("Gelu FastGelu QuickGelu", domain=MICROSOFT, shape=like_first)
@register("ImageScaler ParametricSoftplus Scale ScaledTanh SwiGLU", shape=like_first)
@register("BiasAdd BiasGelu ScaledSiLU SwiGLU", domain=MICROSOFT, shape=like_first)
def elementwise(node: Node, state: Channels) -> None:
    """The output's axes are the inputs' axes, aligned at the end; equal ones are coupled."""
    names = [i for i in node.inputs if i]
    if node.op == "SwiGLU" and len(names) == 1:
        raise Decline("SwiGLU of two halves in one tensor is not followed")
    if node.op == "CastLike":
        names, typed = names[:1], names[1]
        state.read.add(typed)
    axes = broadcast(node, state, names)
    for name in node.outputs:
        state.set(name, axes)


@register("Dropout", settings=(1, 2))
def dropout(node: Node, state: Channels) -> None:
    """Ratio and mode are scalars beside the data."""
    for name in node.outputs:
        state.set(name, state.of(node.inputs[0]))


@register("Bernoulli", "RandomNormalLike", "RandomUniformLike", "EyeLike")
def like(node: Node, state: Channels) -> None:
    """Values of their own, in the shape of the input."""
    state.set(node.outputs[0], [a.with_zero(False) for a in state.of(node.inputs[0])])


def broadcast(node: Node, state: Channels, names: list[str]) -> list[Axis]:
    """Axes of the broadcast of ``names``, with what becomes of zeros; couples what is aligned."""
    operands = [state.of(name) for name in names]
    result = []
    for back, axis in zip(range(-max(map(len, operands)), 0), align(node, state, names), strict=True):
        if axis.static:
            result.append(axis)
            continue
        zeros = [len(axes) >= -back and axes[back].size != 1 and axes[back].zero for axes in operands]
        if node.op in _SINGULAR and zeros[0]:
            state.inexact(axis, f"{node.op} of a channel that becomes zero is not finite")
        if node.op == "Div" and zeros[-1]:
            state.inexact(axis, "divides by a channel that becomes zero")
        elif node.op == "Div" and zeros[0] and _naught(node.inputs[1], state):
            state.inexact(axis, "a channel that becomes zero is divided by zero")
        result.append(axis.with_zero(_zero_at_removed(node, state, list(zip(names, zeros, strict=True)))))
    return result


def _naught(name: str, state: Channels) -> bool:
    """Whether a parameter has a zero."""
    return name in state.graph.parameters and not state.graph.array(name).all()


def align(node: Node, state: Channels, names: list[str]) -> list[Axis]:
    """Axes of the broadcast of ``names``; couples what is aligned."""
    operands = [(name, state.of(name)) for name in names]
    result = []
    for back in range(-max(len(axes) for _, axes in operands), 0):
        having = [axes[back] for _, axes in operands if len(axes) >= -back]
        wide = [a for a in having if a.size != 1]
        for axis in having:
            if axis.size == 1 and (wide or not _same_ids(axis, having[0])):
                state.freeze(axis, "is broadcast along this axis")
        if not wide:
            result.append(having[0])
            continue
        first = state.together(wide)
        for name, axes in operands:
            if len(axes) >= -back and axes[back].size != 1:
                state.role(name, len(axes) + back, PASS_THROUGH)
        result.append(first)
    return result


def _same_ids(a: Axis, b: Axis) -> bool:
    return a is b or (a.static and b.static)


def _zero_at_removed(node: Node, state: Channels, operands: list[tuple[str, bool]]) -> bool:
    """Whether the result is zero where the operands marked zero are: the operator itself is asked."""
    if node.op in _ABSORBING and not node.domain:
        return any(zero for _, zero in operands)
    if node.op == "Div":
        return operands[0][1] and not operands[1][1]
    if node.domain == MICROSOFT:
        return all(zero for _, zero in operands)
    if node.op == "PRelu":
        return operands[0][1]
    probes: list[Array | None] = []
    for name in node.inputs:
        if not name:
            probes.append(None)
        elif dict(operands).get(name) or (name in state.graph.producers and only_zeros(state.graph, name)):
            probes.append(np.zeros(1, np.float32))
        else:
            value = state.value(name)
            if value is None or value.dtype.kind not in "fiub":
                return False
            probes.append(np.unique(value))
    try:
        with np.errstate(all="ignore"):
            results = [np.asarray(r) for r in reference(node, _broadcastable(probes))]
    except Exception:  # noqa: BLE001 - no NumPy reference for this type: claim nothing
        return False
    return all(r.dtype.kind in "fiub" and not np.any(r) for r in results)


def _broadcastable(probes: list[Array | None]) -> list[Array | None]:
    """Probe values on an axis of their own each, so that all combinations are tried."""
    count = sum(p is not None for p in probes)
    shaped: list[Array | None] = []
    for p in probes:
        if p is None:
            shaped.append(None)
        else:
            place = sum(s is not None for s in shaped)
            shaped.append(p if p.size == 1 and p.ndim == 0 else _scalar_or(p, place, count))
    return shaped


def _scalar_or(values: Array, place: int, count: int) -> Array:
    if values.size == 1:
        return values.reshape(())
    return values.reshape([-1 if d == place else 1 for d in range(count)])


@register("Affine", shape=like_first)
def affine(node: Node, state: Channels) -> None:
    """Old experimental operators whose scalars are attributes."""
    if len(node.inputs) != 1:
        raise Decline(f"{node.op} with {len(node.inputs)} inputs is not a known form")
    state.set(node.outputs[0], [a.with_zero(False) for a in state.of(node.inputs[0])])
