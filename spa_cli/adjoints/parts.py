"""Fused operators of onnxruntime, and old ones of ONNX, in parts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from spa_cli.adjoints.emitter import NoAdjoint, Value
from spa_cli.adjoints.expand import written_out
from spa_cli.adjoints.table import Call


def activated(y: Value, name: str, parameters: Sequence[float]) -> Value:
    """An activation by its name and parameters, as fused operators have them."""
    e = y.emit
    if name == "Clip":
        low, high = parameters
        return e.op("Min", e.op("Max", y, low), high)
    names: tuple[str, ...] = {"LeakyRelu": ("alpha",), "HardSigmoid": ("alpha", "beta"), "Elu": ("alpha",)}.get(
        name, ()
    )
    attributes: dict[str, Any] = dict(zip(names, parameters, strict=False))
    return e.op(name, y, **attributes)


def _plain(c: Call) -> dict[str, Any]:
    """Attributes of what was there before it was fused."""
    return {k: v for k, v in c.node.attrs.items() if not k.startswith("activation")}


@written_out("FusedConv")
def fused_conv(c: Call) -> list[Value]:
    """A convolution, what is added, an activation."""
    y = c.emit.op("Conv", c.x(0), c.x(1), c.x(2) if c.has(2) else None, **_plain(c))
    if c.has(3):
        y = y + c.x(3)
    name = c.node.attr("activation")
    return [activated(y, name, c.node.attr("activation_params", [])) if name else y]


@written_out("FusedGemm")
def fused_gemm(c: Call) -> list[Value]:
    """A product, an activation."""
    y = c.emit.op("Gemm", c.x(0), c.x(1), c.x(2) if c.has(2) else None, **_plain(c))
    name, parameters = c.node.attr("activation"), ("activation_alpha", "activation_beta", "activation_gamma")
    given = [float(c.node.attr(p)) for p in parameters if c.node.attr(p) is not None]
    return [activated(y, name, given) if name else y]


@written_out("FusedMatMul TransposeMatMul")
def fused_matmul(c: Call) -> list[Value]:
    """A product of matrices that may be transposed."""
    if c.node.attr("transBatchA", 0) or c.node.attr("transBatchB", 0):
        raise NoAdjoint("it transposes batches")
    sides = []
    for i, name in enumerate(("transA", "transB")):
        value, rank = c.x(i), c.rank(i)
        if c.node.attr(name, 0) and rank > 1:
            value = c.emit.transpose(value, [*range(rank - 2), rank - 1, rank - 2])
        sides.append(value)
    y = sides[0] @ sides[1]
    alpha = float(c.node.attr("alpha", 1.0))
    return [y if alpha == 1 else y * alpha]


def gelu(x: Value) -> Value:
    """Exact."""
    return x * 0.5 * (x.emit.op("Erf", x * math.sqrt(0.5)) + 1.0)


@written_out("BiasGelu Gelu")
def bias_gelu(c: Call) -> list[Value]:
    """Of a sum."""
    return [gelu(c.x() + c.x(1) if c.has(1) else c.x())]


@written_out("FastGelu")
def fast_gelu(c: Call) -> list[Value]:
    """By its approximation."""
    x = c.x() + c.x(1) if c.has(1) else c.x()
    return [x * 0.5 * (c.emit.op("Tanh", (x + x * x * x * 0.044715) * math.sqrt(2 / math.pi)) + 1.0)]


@written_out("QuickGelu")
def quick_gelu(c: Call) -> list[Value]:
    """By a sigmoid."""
    return [c.x() * c.emit.op("Sigmoid", c.x() * float(c.node.attr("alpha", 1.702)))]


def standardised(x: Value, epsilon: float, centred: bool = True) -> Value:
    """To mean zero (if ``centred``) and variance one along the last axis."""
    e = x.emit

    def mean(value: Value) -> Value:
        return e.reduce(value, [-1], keepdims=True, op="ReduceMean")

    off = x - mean(x) if centred else x
    return off / e.op("Sqrt", mean(off * off) + epsilon)


@written_out("SkipLayerNormalization")
def skip_layer_norm(c: Call) -> list[Value | None]:
    """Of a sum; the sum is an output too."""
    total = c.x() + c.x(1)
    if c.has(4):
        total = total + c.x(4)
    y = standardised(total, float(c.node.attr("epsilon", 1e-12))) * c.x(2)
    return [y + c.x(3) if c.has(3) else y, None, None, total]


@written_out("SkipSimplifiedLayerNormalization")
def skip_rms_norm(c: Call) -> list[Value | None]:
    """The same without centring."""
    total = c.x() + c.x(1)
    if c.has(3):
        total = total + c.x(3)
    return [standardised(total, float(c.node.attr("epsilon", 1e-12)), False) * c.x(2), None, None, total]


@written_out("EmbedLayerNormalization")
def embed_layer_norm(c: Call) -> list[Value | None]:
    """Of a sum of embeddings; how many tokens a mask leaves."""
    e = c.emit
    total = e.op("Gather", c.x(2), c.x(0), axis=0)
    steps = c.x(8) if c.has(8) else e.arange(e.size(c.x(0), 1))
    total = total + e.op("Gather", c.x(3), steps, axis=0)
    if c.has(4):
        total = total + e.op("Gather", c.x(4), c.x(1), axis=0)
    y = standardised(total, float(c.node.attr("epsilon", 1e-12))) * c.x(5) + c.x(6)
    first = e.op("Gather", c.x(0), e.constant(0, 7), axis=1)
    length = e.reduce(c.x(7), [1], keepdims=False) if c.has(7) else e.cast(first, 6) - e.cast(first, 6)
    return [y, length, total]


@written_out("Affine", "")
def affine(c: Call) -> list[Value]:
    """Of opset 1."""
    return [c.x() * float(c.node.attr("alpha", 1.0)) + float(c.node.attr("beta", 0.0))]


@written_out("ScaledTanh", "")
def scaled_tanh(c: Call) -> list[Value]:
    """Of opset 1."""
    return [c.emit.op("Tanh", c.x() * float(c.node.attr("beta", 1.0))) * float(c.node.attr("alpha", 1.0))]


@written_out("ParametricSoftplus", "")
def parametric_softplus(c: Call) -> list[Value]:
    """Of opset 1."""
    return [c.emit.op("Softplus", c.x() * float(c.node.attr("beta", 1.0))) * float(c.node.attr("alpha", 1.0))]


@written_out("ImageScaler", "")
def image_scaler(c: Call) -> list[Value]:
    """Of opset 1: one factor, an offset per channel."""
    bias = c.emit.constant(list(c.node.attr("bias")), c.x().dtype)
    return [c.x() * float(c.node.attr("scale", 1.0)) + c.emit.unsqueeze(bias, [1, 2])]


@written_out("Crop", "")
def crop(c: Call) -> list[Value]:
    """Of opset 1: what lies inside a border."""
    left, top, right, bottom = (int(b) for b in c.node.attr("border"))
    scale = [int(s) for s in c.node.attr("scale", ())]
    if scale:
        return [c.emit.slice(c.x(), [top, left], [top + scale[0], left + scale[1]], [2, 3])]
    ends = [-bottom or 2**62, -right or 2**62]
    return [c.emit.slice(c.x(), [top, left], ends, [2, 3])]
