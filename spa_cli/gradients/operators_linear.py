"""Convolutions and products. Imported once torch is known to be there (``families``)."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from spa_cli.gradients.operators import MICROSOFT, Call, Tensor, operator

_CONV: dict[int, Any] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED: dict[int, Any] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_ACTIVATIONS: dict[str, Any] = {"Relu": torch.relu, "Tanh": torch.tanh, "Sigmoid": torch.sigmoid}


def pads_of(call: Call, sizes: list[int], kernel: list[int], strides: list[int], dilations: list[int]) -> list[int]:
    """Padding before and after each spatial axis, in ONNX's order, ``auto_pad`` worked out."""
    rank = len(kernel)
    auto = call.attr("auto_pad", "NOTSET")
    if auto == "VALID":
        return [0] * (2 * rank)
    if auto == "NOTSET":
        return list(call.attr("pads", [0] * (2 * rank)))
    before, after = [], []
    for size, k, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        total = max((-(-size // stride) - 1) * stride + (k - 1) * dilation + 1 - size, 0)
        small, large = total // 2, total - total // 2
        before.append(small if auto == "SAME_UPPER" else large)
        after.append(large if auto == "SAME_UPPER" else small)
    return before + after


def padded(x: Tensor, pads: list[int], value: float = 0.0) -> Tensor:
    """``x`` with its last axes padded (or, where negative, cropped); ``pads`` in ONNX's order."""
    if not any(pads):
        return x
    rank = len(pads) // 2
    return F.pad(x, [p for i in reversed(range(rank)) for p in (pads[i], pads[rank + i])], value=value)


@operator("Conv")
def conv(call: Call, x: Tensor, w: Tensor, b: Tensor = None) -> Tensor:
    """Convolution over one to three axes; uneven padding is done beforehand."""
    kernel, rank = list(w.shape[2:]), w.dim() - 2
    strides, dilations = list(call.attr("strides", [1] * rank)), list(call.attr("dilations", [1] * rank))
    pads = pads_of(call, list(x.shape[2:]), kernel, strides, dilations)
    if pads[:rank] != pads[rank:]:
        x, pads = padded(x, pads), [0] * (2 * rank)
    return _CONV[rank](x, w, b, strides, pads[:rank], dilations, call.attr("group", 1))


@operator("ConvTranspose")
def conv_transpose(call: Call, x: Tensor, w: Tensor, b: Tensor = None) -> Tensor:
    """Transposed convolution: computed without padding, then cropped (that is what ONNX's padding means here)."""
    kernel, rank = list(w.shape[2:]), w.dim() - 2
    strides, dilations = list(call.attr("strides", [1] * rank)), list(call.attr("dilations", [1] * rank))
    extra = list(call.attr("output_padding", [0] * rank))
    wanted = call.attr("output_shape")
    auto, pads = call.attr("auto_pad", "NOTSET"), list(call.attr("pads", [0] * (2 * rank)))
    full = [
        s * (n - 1) + e + (k - 1) * d + 1
        for s, n, e, k, d in zip(strides, x.shape[2:], extra, kernel, dilations, strict=True)
    ]
    if wanted is None and auto.startswith("SAME"):
        wanted = [n * s for n, s in zip(x.shape[2:], strides, strict=True)]
    if wanted is not None:
        totals = [f - w_ for f, w_ in zip(full, list(wanted)[-rank:], strict=True)]
        small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
        pads = small + large if auto == "SAME_UPPER" else large + small
    y = _TRANSPOSED[rank](x, w, None, strides, 0, 0, call.attr("group", 1), dilations)
    y = padded(y, [-p for p in pads[:rank]] + [e - p for p, e in zip(pads[rank:], extra, strict=True)])
    return y if b is None else y + b.reshape(-1, *[1] * rank)


@operator("FusedConv", domain=MICROSOFT)
def fused_conv(call: Call, x: Tensor, w: Tensor, b: Tensor = None, z: Tensor = None) -> Tensor:
    """Convolution, a sum, an activation."""
    y = conv(call, x, w, b)
    return activated(call, y if z is None else y + z)


@operator("Gemm")
@operator("FusedGemm", domain=MICROSOFT)
def gemm(call: Call, a: Tensor, b: Tensor, c: Tensor = None) -> Tensor:
    """``alpha a b + beta c``, either transposed, maybe with an activation."""
    y = (a.t() if call.attr("transA", 0) else a) @ (b.t() if call.attr("transB", 0) else b)
    y = y * call.attr("alpha", 1.0)
    return activated(call, y if c is None else y + c * call.attr("beta", 1.0))


@operator("FusedMatMul", "TransposeMatMul", domain=MICROSOFT)
def fused_matmul(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """Scaled product, the last two axes of either transposed."""
    if call.attr("transBatchA", 0) or call.attr("transBatchB", 0):
        raise NotImplementedError("FusedMatMul with transposed batch axes")
    a = a.transpose(-1, -2) if call.attr("transA", 0) else a
    b = b.transpose(-1, -2) if call.attr("transB", 0) else b
    return a @ b * call.attr("alpha", 1.0)


def activated(call: Call, x: Tensor) -> Tensor:
    """The activation a fused operator carries in its attributes."""
    name = call.attr("activation", "")
    if not name:
        return x
    if name == "LeakyRelu":
        given = call.attr("activation_params", [call.attr("leaky_relu_alpha", 0.01)])
        return F.leaky_relu(x, given[0])
    if name == "Clip":
        return torch.clamp(x, *call.attr("activation_params"))
    if name not in _ACTIVATIONS:
        raise NotImplementedError(f"activation {name}")
    return _ACTIVATIONS[name](x)
