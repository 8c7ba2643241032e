"""Pooling, padding, resizing. Imported once torch is known to be there (``families``)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn import functional as F

from spa_cli.gradients.operators import Call, Tensor, ints, operator
from spa_cli.gradients.operators_linear import padded, pads_of

_MAX: dict[int, Any] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE: dict[int, Any] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


@operator("MaxPool")
def max_pool(call: Call, x: Tensor) -> Tensor:
    """Greatest value of each window; padding never wins."""
    if call.outputs > 1:
        raise NotImplementedError("MaxPool with indices")
    kernel, strides, dilations, pads = _window(call, x)
    x = padded(x, pads, float("-inf"))
    return _MAX[len(kernel)](x, kernel, strides, 0, dilations)


@operator("AveragePool")
def average_pool(call: Call, x: Tensor) -> Tensor:
    """Mean of each window, over the padding too if ``count_include_pad`` says so."""
    kernel, strides, dilations, pads = _window(call, x)
    if any(d != 1 for d in dilations):
        raise NotImplementedError("AveragePool with dilations")
    pool = _AVERAGE[len(kernel)]
    if not any(pads):
        return pool(x, kernel, strides)
    declared = pads_of(call, list(x.shape[2:]), kernel, strides, dilations)
    ones = torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype)
    if call.attr("count_include_pad", 0):
        # what ceil_mode adds beyond the declared padding never counts
        ones = padded(ones, declared, 1.0)
        counted = padded(ones, [p - d for p, d in zip(pads, declared, strict=True)])
    else:
        counted = padded(ones, pads)
    return pool(padded(x, pads), kernel, strides) / pool(counted, kernel, strides)


@operator("GlobalAveragePool")
def global_average(call: Call, x: Tensor) -> Tensor:
    """Mean over all spatial axes."""
    return x.mean(list(range(2, x.dim())), keepdim=True)


@operator("GlobalMaxPool")
def global_max(call: Call, x: Tensor) -> Tensor:
    """Greatest value over all spatial axes."""
    return x.amax(list(range(2, x.dim())), keepdim=True)


@operator("GlobalLpPool")
def global_lp(call: Call, x: Tensor) -> Tensor:
    """Norm over all spatial axes."""
    p = call.attr("p", 2)
    return x.abs().pow(p).sum(list(range(2, x.dim())), keepdim=True).pow(1 / p)


def _window(call: Call, x: Tensor) -> tuple[list[int], list[int], list[int], list[int]]:
    """(kernel, strides, dilations, pads); ``ceil_mode`` is padding at the end."""
    kernel = list(call.attr("kernel_shape"))
    rank, sizes = len(kernel), list(x.shape[2:])
    strides, dilations = list(call.attr("strides", [1] * rank)), list(call.attr("dilations", [1] * rank))
    pads = pads_of(call, sizes, kernel, strides, dilations)
    if call.attr("ceil_mode", 0):
        for i in range(rank):
            room = sizes[i] + pads[i] + pads[rank + i] - (kernel[i] - 1) * dilations[i] - 1
            count = math.ceil(room / strides[i])
            # a window has to start inside the tensor or its padding before it
            if count * strides[i] >= sizes[i] + pads[i]:
                count -= 1
            pads[rank + i] += max(count * strides[i] - room, 0)
    return kernel, strides, dilations, pads


@operator("Pad")
def pad(call: Call, x: Tensor, given: Tensor = None, value: Tensor = None, axes: Tensor = None) -> Tensor:
    """Padding by a constant, by edges, reflected or wrapped around; negative padding crops."""
    pads = list(call.attr("pads", call.attr("paddings", []))) if given is None else ints(given)
    fill = call.attr("value", 0.0) if value is None else value.reshape(-1)[0].item()
    mode = call.attr("mode", "constant")
    rank = len(pads) // 2
    for i, axis in enumerate(range(x.dim()) if axes is None else ints(axes)):
        before, after = pads[i], pads[rank + i]
        if mode == "constant":
            sides = [0] * (2 * ((-axis - 1) % x.dim())) + [before, after]
            x = F.pad(x, sides, value=fill) if before or after else x
        elif before or after:
            x = x.index_select(axis, _positions(x.shape[axis], before, after, mode))
    return x


def _positions(size: int, before: int, after: int, mode: str) -> Tensor:
    at = torch.arange(-before, size + after)
    if mode == "edge":
        return at.clamp(0, size - 1)
    if mode == "wrap":
        return at % size
    period = max(2 * (size - 1), 1)
    at = at.abs() % period
    return torch.where(at < size, at, period - at)


@operator("STFT")
def stft(call: Call, x: Tensor, step: Tensor, window: Tensor = None, length: Tensor = None) -> Tensor:
    """Short-time Fourier transform of real signals (batch, time, 1): (batch, frames, bins, 2)."""
    if x.dim() == 3 and x.shape[-1] == 2:
        raise NotImplementedError("STFT of complex signals")
    size = ints(length)[0] if length is not None else window.shape[0]
    frames = x.reshape(x.shape[0], -1).unfold(1, size, ints(step)[0])
    frames = frames if window is None else frames * window
    spectrum = torch.fft.rfft(frames) if call.attr("onesided", 1) else torch.fft.fft(frames)
    return torch.view_as_real(spectrum)


@operator("Resize", "Upsample")
def resize(call: Call, x: Tensor, *rest: Tensor) -> Tensor:
    """Nearest or (bi-, tri-)linear interpolation along each axis, as gathers and a product with a fixed matrix."""
    scales, sizes = _scales(call, x, rest)
    for axis, (scale, size) in enumerate(zip(scales, sizes, strict=True)):
        if size == x.shape[axis] and scale == 1:
            continue
        matrix = _interpolation(call, int(x.shape[axis]), size, scale).to(x.dtype)
        x = (x.movedim(axis, -1) @ matrix.t()).movedim(-1, axis)
    return x


def _scales(call: Call, x: Tensor, rest: tuple[Tensor, ...]) -> tuple[list[float], list[int]]:
    if call.op == "Upsample" or call.version < 11:
        given = call.attr("scales") if not rest else rest[0].reshape(-1).tolist()
        wanted = None
    else:
        _, scales, wanted = (*rest, None, None, None)[:3]
        given = scales.reshape(-1).tolist() if scales is not None and scales.numel() else None
    axes = [a % x.dim() for a in call.attr("axes", range(x.dim()))]
    factor, size = [1.0] * x.dim(), list(x.shape)
    if given is not None:
        for axis, scale in zip(axes, given, strict=True):
            factor[axis], size[axis] = scale, math.floor(x.shape[axis] * scale + 1e-6)
    else:
        if call.attr("keep_aspect_ratio_policy", "stretch") != "stretch":
            raise NotImplementedError("Resize that keeps the aspect ratio")
        for axis, n in zip(axes, ints(wanted), strict=True):
            factor[axis], size[axis] = n / x.shape[axis], n
    return factor, [int(n) for n in size]


def _interpolation(call: Call, before: int, after: int, scale: float) -> Tensor:
    """Matrix (after, before) of one axis."""
    old = call.op == "Upsample" or call.version < 11
    how = "asymmetric" if old else call.attr("coordinate_transformation_mode", "half_pixel")
    if call.attr("antialias", 0) and scale < 1:
        raise NotImplementedError("Resize with antialias")
    at = torch.arange(after, dtype=torch.float64)
    if how == "asymmetric":
        at = at / scale
    elif how == "align_corners":
        at = at * ((before - 1) / max(after - 1, 1))
    elif how in ("half_pixel", "pytorch_half_pixel"):
        at = (at + 0.5) / scale - 0.5 if after > 1 or how == "half_pixel" else at * 0
    else:
        raise NotImplementedError(f"Resize with {how}")
    mode, rows = call.attr("mode", "nearest"), torch.arange(after)
    matrix = torch.zeros((after, before), dtype=torch.float64)
    if mode == "nearest":
        rounding = "floor" if old else call.attr("nearest_mode", "round_prefer_floor")
        matrix[rows, _ROUND[rounding](at).long().clamp(0, before - 1)] = 1.0
    elif mode == "linear":
        at = at.clamp(0, before - 1)
        low = at.floor().long()
        matrix[rows, low] += 1 - (at - low)
        matrix[rows, (low + 1).clamp(max=before - 1)] += at - low
    elif mode == "cubic" and not call.attr("exclude_outside", 0):
        low, a = at.floor().long(), call.attr("cubic_coeff_a", -0.75)
        for offset in (-1, 0, 1, 2):
            weight = _cubic((at - low - offset).abs(), a)
            matrix.index_put_((rows, (low + offset).clamp(0, before - 1)), weight, accumulate=True)
    else:
        raise NotImplementedError(f"Resize by {mode}")
    return matrix


def _cubic(d: Tensor, a: float) -> Tensor:
    """Keys' kernel (1981)."""
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return torch.where(d <= 1, near, far)


_ROUND: dict[str, Any] = {
    "floor": torch.floor,
    "ceil": torch.ceil,
    "round_prefer_floor": lambda at: torch.ceil(at - 0.5),
    "round_prefer_ceil": lambda at: torch.floor(at + 0.5),
}
