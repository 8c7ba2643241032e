"""Normalisations. Imported once torch is known to be there (``families``)."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from spa_cli.gradients.operators import MICROSOFT, Call, Tensor, operator


@operator("BatchNormalization")
def batch_norm(call: Call, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    """By the running statistics, which stay as they are: the network is differentiated as it infers."""
    if call.attr("training_mode", 0):
        raise NotImplementedError("BatchNormalization in training mode")
    # written out: torch's own doesn't differentiate by statistics, which may be computed ones
    factor = scale * torch.rsqrt(var + call.attr("epsilon", 1e-5))
    shape = (-1, *[1] * (x.dim() - 2))
    return x * factor.reshape(shape) + (bias - mean * factor).reshape(shape)


@operator("InstanceNormalization")
def instance_norm(call: Call, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Each channel of each sample by its own mean and variance."""
    axes = list(range(2, x.dim()))
    shape = (-1, *[1] * len(axes))
    y = _standardised(x, axes, call.attr("epsilon", 1e-5))
    return y * scale.reshape(shape) + bias.reshape(shape)


@operator("GroupNormalization")
def group_norm(call: Call, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Groups of channels; scale and bias are per group before opset 21."""
    groups, shape = call.attr("num_groups"), (1, -1, *[1] * (x.dim() - 2))
    y = F.group_norm(x, groups, eps=call.attr("epsilon", 1e-5))
    if scale.shape[0] != x.shape[1]:
        scale, bias = (t.repeat_interleave(x.shape[1] // groups) for t in (scale, bias))
    return y * scale.reshape(shape) + bias.reshape(shape)


@operator("GroupNorm", domain=MICROSOFT)
def group_norm_fused(call: Call, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Group norm of tensors that have their channels last unless said otherwise, maybe with a Swish."""
    last = bool(call.attr("channels_last", 1))
    y = F.group_norm(x.movedim(-1, 1) if last else x, call.attr("groups"), scale, bias, call.attr("epsilon", 1e-5))
    y = F.silu(y) if call.attr("activation", 0) else y
    return y.movedim(1, -1) if last else y


@operator("LayerNormalization")
def layer_norm(call: Call, x: Tensor, scale: Tensor, bias: Tensor = None) -> Any:
    """Over the axes from ``axis`` on; mean and inverse deviation are outputs where asked for."""
    axis = call.attr("axis", -1) % x.dim()
    axes, epsilon = list(range(axis, x.dim())), call.attr("epsilon", 1e-5)
    mean = x.mean(axes, keepdim=True)
    inverse = torch.rsqrt((x - mean).square().mean(axes, keepdim=True) + epsilon)
    if list(scale.shape) == list(x.shape[axis:]):
        y = F.layer_norm(x, list(scale.shape), scale, bias, epsilon)
    else:
        y = (x - mean) * inverse * scale
        y = y if bias is None else y + bias
    return (y, mean, inverse)[: call.outputs] if call.outputs > 1 else y


@operator("RMSNormalization", "SimplifiedLayerNormalization")
@operator("SimplifiedLayerNormalization", domain=MICROSOFT)
def rms_norm(call: Call, x: Tensor, scale: Tensor) -> Any:
    """By the root mean square over the axes from ``axis`` on."""
    axes = list(range(call.attr("axis", -1) % x.dim(), x.dim()))
    inverse = torch.rsqrt(x.square().mean(axes, keepdim=True) + call.attr("epsilon", 1e-5))
    y = x * inverse * scale
    return (y, inverse) if call.outputs > 1 else y


@operator("SkipLayerNormalization", domain=MICROSOFT)
def skip_layer_norm(
    call: Call, x: Tensor, skip: Tensor, scale: Tensor, shift: Tensor = None, bias: Tensor = None
) -> Any:
    """Layer norm of a sum; the sum itself is the fourth output."""
    total = x + skip if bias is None else x + skip + bias
    y = F.layer_norm(total, list(scale.shape), scale, shift, call.attr("epsilon", 1e-12))
    return (y, None, None, total)[: call.outputs] if call.outputs > 1 else y


@operator("SkipSimplifiedLayerNormalization", domain=MICROSOFT)
def skip_rms_norm(call: Call, x: Tensor, skip: Tensor, scale: Tensor, bias: Tensor = None) -> Any:
    """Root-mean-square norm of a sum; the sum itself is the fourth output."""
    total = x + skip if bias is None else x + skip + bias
    y = total * torch.rsqrt(total.square().mean(-1, keepdim=True) + call.attr("epsilon", 1e-12)) * scale
    return (y, None, None, total)[: call.outputs] if call.outputs > 1 else y


@operator("LpNormalization")
def lp_norm(call: Call, x: Tensor) -> Tensor:
    """By the L1 or L2 norm along an axis."""
    order, axis = call.attr("p", 2), call.attr("axis", -1)
    norm = x.abs().sum(axis, keepdim=True) if order == 1 else x.square().sum(axis, keepdim=True).sqrt()
    return x / norm


@operator("MeanVarianceNormalization")
def mean_variance(call: Call, x: Tensor) -> Tensor:
    """By mean and variance over axes, by default all but the channels."""
    return _standardised(x, list(call.attr("axes", [0, 2, 3])), 1e-9)


@operator("LRN")
def local_response(call: Call, x: Tensor) -> Tensor:
    """By the energy of neighbouring channels."""
    size = call.attr("size")
    before, after = (size - 1) // 2, size - 1 - (size - 1) // 2
    squares = F.pad(x.square().movedim(1, -1), [before, after]).unfold(-1, size, 1).sum(-1).movedim(-1, 1)
    return x / (call.attr("bias", 1.0) + call.attr("alpha", 1e-4) / size * squares) ** call.attr("beta", 0.75)


def _standardised(x: Tensor, axes: list[int], epsilon: float) -> Tensor:
    centred = x - x.mean(axes, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(axes, keepdim=True) + epsilon)
