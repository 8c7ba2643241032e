"""Quantised operators, computed in floating point (``families``).

Rounding has no useful derivative: its gradient is taken to be that of the value itself, zero where the range cuts it
off (the straight-through estimator, Bengio, Léonard & Courville 2013, arXiv 1308.3432). Integers travel as floats.
"""

from __future__ import annotations

from typing import Any

import torch

from spa_cli.gradients import operators_linear
from spa_cli.gradients.operators import MICROSOFT, Call, Tensor, operator

_RANGE: dict[Any, tuple[int, int]] = {torch.uint8: (0, 255), torch.int8: (-128, 127)}


def _rounded(x: Tensor) -> Tensor:
    return x + (torch.round(x) - x).detach()


def _along(parameter: Tensor, x: Tensor, axis: int) -> Tensor:
    """One number per position of an axis, or one for all."""
    parameter = parameter.to(torch.float32)
    if parameter.numel() == 1 or parameter.dim() == x.dim():
        return parameter.reshape(()) if parameter.numel() == 1 else parameter
    return parameter.reshape([-1 if i == axis % x.dim() else 1 for i in range(x.dim())])


def _quantised(x: Tensor, scale: Tensor, zero: Tensor, axis: int = 1) -> Tensor:
    low, high = (0, 255) if zero is None else _RANGE.get(zero.dtype, (None, None))
    if low is None:
        raise NotImplementedError("quantisation to other types than 8 bit integers")
    shift = 0.0 if zero is None else _along(zero, x, axis)
    return torch.clamp(_rounded(x / _along(scale, x, axis)) + shift, low, high)


def _real(q: Tensor, scale: Tensor, zero: Tensor, axis: int = 1) -> Tensor:
    q = q.to(torch.float32)
    return (q if zero is None else q - _along(zero, q, axis)) * _along(scale, q, axis)


@operator("QuantizeLinear")
def quantize(call: Call, x: Tensor, scale: Tensor, zero: Tensor = None) -> Tensor:
    """Per tensor or per channel, to 8 bits."""
    if call.attr("block_size", 0):
        raise NotImplementedError("quantisation in blocks")
    return _quantised(x, scale, zero, call.attr("axis", 1))


@operator("DequantizeLinear")
@operator("DequantizeLinear", domain=MICROSOFT)
def dequantize(call: Call, q: Tensor, scale: Tensor, zero: Tensor = None) -> Tensor:
    """Per tensor or per channel."""
    if call.attr("block_size", 0):
        raise NotImplementedError("quantisation in blocks")
    return _real(q, scale, zero, call.attr("axis", 1))


@operator("DynamicQuantizeLinear")
def dynamic_quantize(call: Call, x: Tensor) -> Any:
    """To uint8 by the range the tensor has, which is taken as given."""
    low, high = torch.clamp(x.detach().min(), max=0.0), torch.clamp(x.detach().max(), min=0.0)
    scale = (high - low) / 255
    zero = torch.round(torch.clamp(-low / scale, 0, 255))
    return torch.clamp(_rounded(x / scale) + zero, 0, 255), scale, zero


def _shifted(x: Tensor, zero: Tensor, axis: int) -> Tensor:
    x = x.to(torch.float32)
    return x if zero is None else x - _along(zero, x, axis)


@operator("MatMulInteger")
def matmul_integer(call: Call, a: Tensor, b: Tensor, a_zero: Tensor = None, b_zero: Tensor = None) -> Tensor:
    """Exact as long as the sums stay below 2^24."""
    return _shifted(a, a_zero, -2) @ _shifted(b, b_zero, -1)


@operator("ConvInteger")
def conv_integer(call: Call, x: Tensor, w: Tensor, x_zero: Tensor = None, w_zero: Tensor = None) -> Tensor:
    """Padding is zero after the shift."""
    return operators_linear.conv(call, _shifted(x, x_zero, 1), _shifted(w, w_zero, 0))


@operator("QLinearConv")
def qlinear_conv(
    call: Call,
    x: Tensor,
    x_scale: Tensor,
    x_zero: Tensor,
    w: Tensor,
    w_scale: Tensor,
    w_zero: Tensor,
    y_scale: Tensor,
    y_zero: Tensor,
    b: Tensor = None,
) -> Tensor:
    """Convolution between quantised tensors; the bias is in units of both scales."""
    y = operators_linear.conv(call, _real(x, x_scale, x_zero), _real(w, w_scale, w_zero, 0))
    if b is not None:
        y = y + (b.to(torch.float32) * x_scale * w_scale).reshape(-1, *[1] * (y.dim() - 2))
    return _quantised(y, y_scale, y_zero)


@operator("QLinearMatMul")
def qlinear_matmul(
    call: Call,
    a: Tensor,
    a_scale: Tensor,
    a_zero: Tensor,
    b: Tensor,
    b_scale: Tensor,
    b_zero: Tensor,
    y_scale: Tensor,
    y_zero: Tensor,
) -> Tensor:
    """Product of quantised tensors."""
    return _quantised(_real(a, a_scale, a_zero, -2) @ _real(b, b_scale, b_zero, -1), y_scale, y_zero)


@operator("QGemm", domain=MICROSOFT)
def qgemm(
    call: Call,
    a: Tensor,
    a_scale: Tensor,
    a_zero: Tensor,
    b: Tensor,
    b_scale: Tensor,
    b_zero: Tensor,
    c: Tensor = None,
    y_scale: Tensor = None,
    y_zero: Tensor = None,
) -> Tensor:
    """Quantised Gemm; without an output scale its result is real."""
    transposed = bool(call.attr("transB", 0))
    left, right = _real(a, a_scale, a_zero), _real(b, b_scale, b_zero, 0 if transposed else 1)
    y = (left.t() if call.attr("transA", 0) else left) @ (right.t() if transposed else right)
    y = y * call.attr("alpha", 1.0)
    if c is not None:
        y = y + c.to(torch.float32) * (a_scale * b_scale * call.attr("alpha", 1.0))
    return y if y_scale is None else _quantised(y, y_scale, y_zero)


@operator("QLinearAdd", "QLinearMul", domain=MICROSOFT)
def qlinear_binary(
    call: Call,
    a: Tensor,
    a_scale: Tensor,
    a_zero: Tensor,
    b: Tensor,
    b_scale: Tensor,
    b_zero: Tensor,
    y_scale: Tensor,
    y_zero: Tensor = None,
) -> Tensor:
    """Sum or product of quantised tensors."""
    left, right = _real(a, a_scale, a_zero), _real(b, b_scale, b_zero)
    return _quantised(left + right if call.op == "QLinearAdd" else left * right, y_scale, y_zero)


@operator("QLinearGlobalAveragePool", domain=MICROSOFT)
def qlinear_average(call: Call, x: Tensor, x_scale: Tensor, x_zero: Tensor, y_scale: Tensor, y_zero: Tensor) -> Tensor:
    """Mean over the spatial axes of a quantised tensor."""
    last = bool(call.attr("channels_last", 0))
    axes = list(range(1, x.dim() - 1)) if last else list(range(2, x.dim()))
    return _quantised(_real(x, x_scale, x_zero).mean(axes, keepdim=True), y_scale, y_zero)
