"""Operators that work element by element, with NumPy broadcasting between inputs."""

from __future__ import annotations

import numpy as np

from spa_cli.channels.state import PASS_THROUGH, Axis, Channels, Decline
from spa_cli.graph.model import Array, Node
from spa_cli.graph.shapes import reference
from spa_cli.operators.registry import MICROSOFT, register

# product-like: zero as soon as one factor is
_ABSORBING = frozenset({"Mul", "And", "BitwiseAnd", "SwiGLU"})
# undefined or infinite at zero: a zeroed channel would poison what it is multiplied with
_SINGULAR = frozenset({"Log", "Reciprocal"})


@register(
    "Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast "
    "CastLike Ceil Celu Clip Cos Cosh Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid "
    "HardSwish Identity IsInf IsNaN LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow "
    "Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum Swish Tan Tanh "
    "SwiGLU ThresholdedRelu Where Xor ImageScaler ParametricSoftplus Scale ScaledTanh"
)
@register("Gelu FastGelu QuickGelu BiasGelu BiasAdd", domain=MICROSOFT)
@register("SwiGLU ScaledSiLU", domain=MICROSOFT)
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


@register("Dropout")
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
        result.append(axis.with_zero(_zero_at_removed(node, state, list(zip(names, zeros, strict=True)))))
    return result


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
        elif dict(operands).get(name):
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


@register("Affine")
def affine(node: Node, state: Channels) -> None:
    """Old experimental operators whose scalars are attributes."""
    if len(node.inputs) != 1:
        raise Decline(f"{node.op} with {len(node.inputs)} inputs is not a known form")
    state.set(node.outputs[0], [a.with_zero(False) for a in state.of(node.inputs[0])])
