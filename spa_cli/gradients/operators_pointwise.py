"""Elementwise operators and reductions. Imported once torch is known to be there (``families``)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn import functional as F

from spa_cli.gradients.operators import MICROSOFT, Call, Tensor, ints, operator

_ELEMENT: dict[int, Any] = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float32,  # half precision is computed in single: the gradient of a loss underflows in half
    11: torch.float64,
    16: torch.float32,
}


@operator("Cast")
def cast(call: Call, x: Tensor) -> Tensor:
    """To the type in the attribute."""
    if call.attr("to") not in _ELEMENT:
        raise NotImplementedError(f"Cast to type {call.attr('to')}")
    return x.to(_ELEMENT[call.attr("to")])


@operator("CastLike")
def cast_like(call: Call, x: Tensor, other: Tensor) -> Tensor:
    """To the type of another tensor."""
    return x.to(other.dtype)


@operator("Clip")
def clip(call: Call, x: Tensor, low: Tensor = None, high: Tensor = None) -> Tensor:
    """Bounds in attributes before opset 11."""
    least = call.attr("min") if low is None else low.reshape(-1)[0].item()
    most = call.attr("max") if high is None else high.reshape(-1)[0].item()
    return x if least is None and most is None else torch.clamp(x, least, most)


@operator("PRelu")
def prelu(call: Call, x: Tensor, slope: Tensor) -> Tensor:
    """Slope broadcast to the right."""
    return torch.where(x >= 0, x, x * slope)


@operator("Gelu")
@operator("Gelu", domain=MICROSOFT)
def gelu(call: Call, x: Tensor) -> Tensor:
    """Exact or by tanh."""
    return F.gelu(x, approximate=call.attr("approximate", "none"))


@operator("BiasGelu", domain=MICROSOFT)
def bias_gelu(call: Call, x: Tensor, bias: Tensor) -> Tensor:
    """Exact Gelu of a sum."""
    return F.gelu(x + bias)


@operator("FastGelu", domain=MICROSOFT)
def fast_gelu(call: Call, x: Tensor, bias: Tensor = None) -> Tensor:
    """Gelu by tanh, maybe of a sum."""
    return F.gelu(x if bias is None else x + bias, approximate="tanh")


@operator("QuickGelu", domain=MICROSOFT)
def quick_gelu(call: Call, x: Tensor) -> Tensor:
    """Gelu by a sigmoid."""
    return x * torch.sigmoid(call.attr("alpha", 1.702) * x)


@operator("Swish")
def swish(call: Call, x: Tensor) -> Tensor:
    """``x sigmoid(alpha x)``."""
    return x * torch.sigmoid(call.attr("alpha", 1.0) * x)


@operator("Mish")
def mish(call: Call, x: Tensor) -> Tensor:
    """``x tanh(softplus(x))``."""
    return F.mish(x)


@operator("ThresholdedRelu")
def thresholded_relu(call: Call, x: Tensor) -> Tensor:
    """What isn't above ``alpha`` is zero."""
    return torch.where(x > call.attr("alpha", 1.0), x, torch.zeros_like(x))


@operator("Affine")
def affine(call: Call, x: Tensor) -> Tensor:
    """``alpha x + beta``."""
    return call.attr("alpha", 1.0) * x + call.attr("beta", 0.0)


@operator("ImageScaler")
def image_scaler(call: Call, x: Tensor) -> Tensor:
    """``scale x`` and a bias per channel."""
    bias = torch.tensor(call.attr("bias"), dtype=x.dtype).reshape(-1, 1, 1)
    return x * call.attr("scale", 1.0) + bias


@operator("Scaler", domain="ai.onnx.ml")
def scaler(call: Call, x: Tensor) -> Tensor:
    """``(x - offset) scale``."""
    offset, scale = (torch.tensor(call.attr(n)) for n in ("offset", "scale"))
    return (x.to(torch.float32) - offset) * scale


@operator("GreaterOrEqual")
def greater_or_equal(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """Of a later version than the converter's."""
    return a >= b


@operator("LessOrEqual")
def less_or_equal(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """Of a later version than the converter's."""
    return a <= b


@operator("Sign")
def sign(call: Call, x: Tensor) -> Tensor:
    """Its gradient is zero."""
    return torch.sign(x)


@operator("CumSum")
def cumulative(call: Call, x: Tensor, axis: Tensor) -> Tensor:
    """Sums so far, without the element itself if ``exclusive``, from the end if ``reverse``."""
    (along,) = ints(axis)
    y = x.flip(along) if call.attr("reverse", 0) else x
    total = torch.cumsum(y, along)
    total = total - y if call.attr("exclusive", 0) else total
    return total.flip(along) if call.attr("reverse", 0) else total


@operator("ArgMax", "ArgMin")
def arg_extremum(call: Call, x: Tensor) -> Tensor:
    """Position of the greatest or least value: no gradient passes."""
    axis, keep = call.attr("axis", 0), bool(call.attr("keepdims", 1))
    last = bool(call.attr("select_last_index", 0))
    x = x.flip(axis) if last else x
    at = x.argmax(axis, keep) if call.op == "ArgMax" else x.argmin(axis, keep)
    return x.shape[axis] - 1 - at if last else at


def _log_sum(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return x.sum(axes, keepdim=keep).log()


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted((a % x.dim() for a in axes), reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


_REDUCTIONS: dict[str, Any] = {
    "ReduceSum": lambda x, axes, keep: x.sum(axes, keepdim=keep),
    "ReduceMean": lambda x, axes, keep: x.mean(axes, keepdim=keep) if x.is_floating_point() else _mean(x, axes, keep),
    "ReduceMax": torch.amax,
    "ReduceMin": torch.amin,
    "ReduceProd": _product,
    "ReduceL1": lambda x, axes, keep: x.abs().sum(axes, keepdim=keep),
    "ReduceL2": lambda x, axes, keep: torch.linalg.vector_norm(x, 2, axes, keep),
    "ReduceSumSquare": lambda x, axes, keep: x.square().sum(axes, keepdim=keep),
    "ReduceLogSum": _log_sum,
    "ReduceLogSumExp": torch.logsumexp,
}


def _mean(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return x.sum(axes, keepdim=keep) // math.prod(x.shape[a] for a in axes)


@operator(*_REDUCTIONS)
def reduce(call: Call, x: Tensor, given: Tensor = None) -> Tensor:
    """Axes in an attribute or an input; without any, all (or none, if ``noop_with_empty_axes``)."""
    axes = call.attr("axes") if given is None else ints(given)
    if not axes:
        if call.attr("noop_with_empty_axes", 0):
            return x
        axes = list(range(x.dim()))
    return _REDUCTIONS[call.op](x, list(axes), bool(call.attr("keepdims", 1))) if x.dim() else x
