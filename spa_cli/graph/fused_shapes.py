"""Shapes of operators that ONNX has no schema for: those of ``com.microsoft``."""

from __future__ import annotations

import onnx
from onnx import helper

from spa_cli.graph.known import Shape, Shapes
from spa_cli.graph.model import Node

# The result has the shape of the first input.
LIKE_FIRST = frozenset(
    {
        "Gelu",
        "FastGelu",
        "QuickGelu",
        "BiasGelu",
        "SkipLayerNormalization",
        "SkipSimplifiedLayerNormalization",
        "LayerNormalization",
        "SimplifiedLayerNormalization",
        "BiasAdd",
        "RotaryEmbedding",
        "MoE",
        "ScaledSiLU",
        "SwiGLU",
        "CausalConvWithState",
        "Inverse",
        "Trilu",
        "Scale",
        "ScaledTanh",
        "ParametricSoftplus",
        "ImageScaler",
        "Affine",
    }
)

# Fused operators that extend a standard one.
EXTENDS = {"FusedConv": "Conv", "FusedMatMul": "MatMul", "TransposeMatMul": "MatMul", "FusedGemm": "Gemm"}


def as_standard(node: Node) -> onnx.NodeProto:
    """A fused node as the standard operator it extends (the same output shape), where attributes allow it."""
    plain = not any(node.attr(a, 0) for a in ("transA", "transB", "transBatchA", "transBatchB"))
    if EXTENDS[node.op] == "MatMul" and not plain:
        raise ValueError("schema: a transposed FusedMatMul has no standard form")
    name = EXTENDS[node.op]
    known = onnx.defs.get_schema(name, 13, "").attributes
    inputs = node.inputs[:3] if name != "MatMul" else node.inputs[:2]
    proto = helper.make_node(name, list(inputs), list(node.outputs))
    proto.attribute.extend(a for a in node.proto.attribute if a.name in known)
    return proto


def fused_shapes(node: Node, known: Shapes) -> list[Shape] | None:
    """Shapes of the outputs of a fused attention, embedding or LSTM, ``None`` if it is none or they can't be told."""
    if node.domain != "com.microsoft" or node.op not in _SHAPES:
        return None
    shapes = [known.shape.get(i) if i else None for i in node.inputs]
    if shapes[0] is None:
        return None
    try:
        return _SHAPES[node.op](node, shapes)
    except (TypeError, IndexError, ValueError):
        return None  # a shape it rests on is not known


def _attention(node: Node, shapes: list[Shape | None]) -> list[Shape]:
    batch, tokens, _ = shapes[0] or ()
    heads = int(node.attr("num_heads"))
    total = int((shapes[1] or ())[1] or 0)
    given = node.attr("qkv_hidden_sizes") or [total // 3] * 3
    return [(batch, tokens, int(given[2])), (2, batch, heads, None, int(given[2]) // heads)]


def _multi_head(node: Node, shapes: list[Shape | None]) -> list[Shape]:
    batch, tokens, _ = shapes[0] or ()
    value, heads = shapes[2] or (), int(node.attr("num_heads"))
    size = int(value[-1] or 0) // (heads if len(value) == 3 else 1)
    cache = (batch, heads, None, size)
    return [(batch, tokens, heads * size), cache, cache]


def _grouped(node: Node, shapes: list[Shape | None]) -> list[Shape]:
    batch, tokens, width = shapes[0] or ()
    heads, kv_heads = int(node.attr("num_heads")), int(node.attr("kv_num_heads"))
    separate = len(shapes) > 1 and shapes[1] is not None
    size = int(width or 0) // (heads if separate else heads + 2 * kv_heads)
    cache = (batch, kv_heads, None, size)
    return [(batch, tokens, heads * size), cache, cache]


def _embedding(node: Node, shapes: list[Shape | None]) -> list[Shape]:
    batch, tokens = shapes[0] or ()
    total = (batch, tokens, (shapes[2] or ())[1])
    return [total, (batch,), total]


def _lstm(node: Node, shapes: list[Shape | None]) -> list[Shape]:
    steps, batch, _ = shapes[0] or ()
    directions, hidden = (shapes[2] or ())[:2]
    last = (directions, batch, hidden)
    return [(steps, directions, batch, hidden), last, last]


_SHAPES = {
    "DynamicQuantizeLSTM": _lstm,
    "Attention": _attention,
    "QAttention": _attention,
    "MultiHeadAttention": _multi_head,
    "GroupQueryAttention": _grouped,
    "EmbedLayerNormalization": _embedding,
}
