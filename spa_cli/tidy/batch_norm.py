"""BatchNormalization behind a layer: a scale and an offset per channel, which the layer's own weights can hold."""

from __future__ import annotations

import numpy as np
import onnx

from spa_cli.graph.model import Array
from spa_cli.tidy.draft import STANDARD, Draft, attribute, input_of

_LAYERS = ("Conv", "ConvTranspose", "Gemm")
_TYPES = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)


def fold_batch_norms(draft: Draft) -> int:
    """BatchNormalization of inference is multiplied into the Conv, ConvTranspose or Gemm that alone feeds it."""
    folded = []
    # a layer gets the name of what is folded: each of them once in a pass
    for norm in draft.graph.node:
        if norm.op_type == "BatchNormalization" and norm.domain in STANDARD and _fold(norm, draft):
            folded.append(norm)
    draft.drop(folded)
    return len(folded)


def _fold(norm: onnx.NodeProto, draft: Draft) -> bool:
    layer = draft.producers.get(norm.input[0])
    if layer is None or layer.op_type not in _LAYERS or layer.domain not in STANDARD:
        return False
    if draft.only_reader(norm.input[0]) is not norm or not _is_inference(norm, draft):
        return False
    line, weight, bias = _line(norm, draft), _own(layer, draft), input_of(layer, 2)
    old = draft.array(bias) if bias else np.zeros(())
    if line is None or weight is None or old is None:
        return False
    scale, offset = line
    beta = float(attribute(layer, "beta", 1.0)) if layer.op_type == "Gemm" else 1.0
    if not _is_row(old, len(scale)) or (bias and not beta) or (not bias and beta != 1):
        return False
    scaled = _scaled(layer, weight.astype(np.float64), scale)
    if scaled is None:
        return False
    moved = (np.broadcast_to(old.reshape(-1) * beta, scale.shape) * scale + offset) / beta
    with np.errstate(over="ignore"):
        new, row = scaled.astype(weight.dtype), moved.astype(weight.dtype)
    if not np.isfinite(new).all() or not np.isfinite(row).all():
        # the type has no room for them
        return False
    draft.replace(layer.input[1], new)
    _set_bias(layer, norm, draft, row)
    layer.output[0] = norm.output[0]
    return True


def _is_inference(norm: onnx.NodeProto, draft: Draft) -> bool:
    """With the statistics that it was trained to, per channel."""
    if draft.opset < 7 or any(draft.is_read(o) for o in norm.output[1:] if o):
        return False
    return not attribute(norm, "training_mode", 0) and bool(attribute(norm, "spatial", 1))


def _line(norm: onnx.NodeProto, draft: Draft) -> tuple[Array, Array] | None:
    """Scale and offset (n,) of every channel; ``None`` if they are not constant."""
    found = [draft.array(name) for name in norm.input[1:5]]
    if any(f is None for f in found):
        return None
    scale, offset, mean, variance = (np.asarray(f, np.float64) for f in found)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = scale / np.sqrt(variance + attribute(norm, "epsilon", 1e-5))
    return (factor, offset - mean * factor) if np.isfinite(factor).all() else None


def _own(layer: onnx.NodeProto, draft: Draft) -> Array | None:
    """The weight of a layer, if it is a plain initializer that nothing else reads."""
    name = layer.input[1]
    tensor = draft.constants.get(name)
    if tensor is None or name in draft.producers or tensor.data_type not in _TYPES:
        return None
    return draft.array(name) if draft.only_reader(name) is layer else None


def _is_row(bias: Array, channels: int) -> bool:
    """Whether it has a number per channel, or one for all."""
    return bias.size in (1, channels) and max(bias.shape, default=1) in (bias.shape or (1,))[-1:]


def _scaled(layer: onnx.NodeProto, weight: Array, scale: Array) -> Array | None:
    """The weight with its output channels scaled; ``None`` if they are others than those of the norm."""
    if layer.op_type == "ConvTranspose":
        groups = attribute(layer, "group", 1)
        blocks = weight.reshape(groups, -1, *weight.shape[1:])
        if groups * weight.shape[1] != len(scale):
            return None
        by_group = scale.reshape(groups, 1, weight.shape[1], *[1] * (weight.ndim - 2))
        return np.asarray((blocks * by_group).reshape(weight.shape))
    axis = 0 if layer.op_type == "Conv" or attribute(layer, "transB", 0) else 1
    if weight.shape[axis] != len(scale):
        return None
    return np.asarray(weight * scale.reshape([-1 if a == axis else 1 for a in range(weight.ndim)]))


def _set_bias(layer: onnx.NodeProto, norm: onnx.NodeProto, draft: Draft, row: Array) -> None:
    """In its own tensor if it has one that nothing else reads, else in one with the name of the norm's output."""
    name = input_of(layer, 2)
    if name and name not in draft.producers and draft.only_reader(name) is layer:
        draft.replace(name, row)
        return
    name = draft.store_new(f"{norm.output[0]}_bias", row)
    inputs = [*layer.input[:2], name]
    del layer.input[:]
    layer.input.extend(inputs)
