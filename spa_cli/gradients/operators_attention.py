"""Attention as ONNX and onnxruntime have it in one operator (``families``).

Written out as products and a softmax: the fused kernels of torch have no second derivative.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn import functional as F

from spa_cli.gradients.operators import MICROSOFT, Call, Tensor, operator


@operator("Attention")
def attention(
    call: Call,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor = None,
    past_key: Tensor = None,
    past_value: Tensor = None,
    lengths: Tensor = None,
) -> Any:
    """Opset 23: heads in an axis of their own or folded into the last, grouped queries, a cache."""
    if lengths is not None or call.outputs > 3:
        raise NotImplementedError("Attention with key lengths or its scores as an output")
    folded = q.dim() == 3
    if folded:
        q = _heads(q, call.attr("q_num_heads"))
        k, v = (_heads(t, call.attr("kv_num_heads")) for t in (k, v))
    k = k if past_key is None else torch.cat([past_key, k], 2)
    v = v if past_value is None else torch.cat([past_value, v], 2)
    bias = None if mask is None else _additive(mask, q)
    if bias is not None and bias.shape[-1] < k.shape[2]:
        bias = F.pad(bias, [0, k.shape[2] - bias.shape[-1]], value=float("-inf"))
    past = 0 if past_key is None else past_key.shape[2]
    y = _attend(q, k, v, bias, call.attr("scale"), bool(call.attr("is_causal", 0)), past, call.attr("softcap", 0.0))
    y = _folded(y) if folded else y
    return (y, k, v)[: call.outputs] if call.outputs > 1 else y


@operator("Attention", domain=MICROSOFT)
def fused_attention(
    call: Call,
    x: Tensor,
    w: Tensor,
    b: Tensor = None,
    mask: Tensor = None,
    past: Tensor = None,
    bias: Tensor = None,
    *rest: Tensor,
) -> Any:
    """Queries, keys and values from one product (onnxruntime's contrib operator)."""
    if any(r is not None for r in rest) or call.attr("do_rotary", 0):
        raise NotImplementedError("Attention with a shared cache or rotary positions")
    heads = call.attr("num_heads")
    qkv = x @ w if b is None else x @ w + b
    each = qkv.shape[-1] // 3
    q, k, v = (_heads(t, heads) for t in qkv.split(list(call.attr("qkv_hidden_sizes") or [each] * 3), -1))
    if past is not None:
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
    before = 0 if past is None else past.shape[3]
    filtered = _filtered(mask, q, k, call.attr("mask_filter_value", -10000.0))
    total = filtered if bias is None else bias if filtered is None else filtered + bias
    y = _folded(_attend(q, k, v, total, call.attr("scale"), bool(call.attr("unidirectional", 0)), before))
    return (y, torch.stack([k, v])) if call.outputs > 1 else y


@operator("MultiHeadAttention", domain=MICROSOFT)
def multi_head(
    call: Call,
    q: Tensor,
    k: Tensor = None,
    v: Tensor = None,
    b: Tensor = None,
    mask: Tensor = None,
    bias: Tensor = None,
    past_key: Tensor = None,
    past_value: Tensor = None,
    *rest: Tensor,
) -> Any:
    """Queries, keys and values given one by one (onnxruntime's contrib operator)."""
    if k is None or v is None or any(r is not None for r in rest) or q.dim() != 3 or call.outputs > 3:
        raise NotImplementedError("MultiHeadAttention with packed inputs or a shared cache")
    heads = call.attr("num_heads")
    if b is not None:
        q_bias, k_bias, v_bias = b.split([q.shape[-1], q.shape[-1], b.shape[0] - 2 * q.shape[-1]])
        q = q + q_bias
        # keys and values that come with four axes are projected already
        k, v = (k + k_bias, v + v_bias) if k.dim() == 3 else (k, v)
    q = _heads(q, heads)
    k, v = (_heads(t, heads) if t.dim() == 3 else t for t in (k, v))
    k = k if past_key is None else torch.cat([past_key, k], 2)
    v = v if past_value is None else torch.cat([past_value, v], 2)
    before = 0 if past_key is None else past_key.shape[2]
    filtered = _filtered(mask, q, k, call.attr("mask_filter_value", -10000.0))
    total = filtered if bias is None else bias if filtered is None else filtered + bias
    y = _folded(_attend(q, k, v, total, call.attr("scale"), bool(call.attr("unidirectional", 0)), before))
    return (y, k, v)[: call.outputs] if call.outputs > 1 else y


@operator("EmbedLayerNormalization", domain=MICROSOFT)
def embed(
    call: Call,
    ids: Tensor,
    segments: Tensor,
    words: Tensor,
    positions: Tensor,
    kinds: Tensor,
    scale: Tensor,
    shift: Tensor,
    mask: Tensor = None,
    at: Tensor = None,
) -> Any:
    """Layer norm of the sum of word, position and segment embeddings."""
    at = torch.arange(ids.shape[1]).unsqueeze(0) if at is None else at
    total = words[ids.long()] + positions[at.long()]
    total = total if segments is None else total + kinds[segments.long()]
    y = F.layer_norm(total, list(scale.shape), scale, shift, call.attr("epsilon", 1e-12))
    count = torch.zeros(ids.shape[0], dtype=torch.int32) if mask is None else mask.sum(1).to(torch.int32)
    return (y, count, total)[: call.outputs] if call.outputs > 1 else y


def _heads(x: Tensor, count: int) -> Tensor:
    return x.reshape(x.shape[0], x.shape[1], count, -1).transpose(1, 2)


def _folded(y: Tensor) -> Tensor:
    return y.transpose(1, 2).reshape(y.shape[0], y.shape[2], -1)


def _additive(mask: Tensor, like: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros(mask.shape, dtype=like.dtype).masked_fill(~mask, float("-inf"))


def _filtered(mask: Tensor, q: Tensor, k: Tensor, low: float) -> Tensor:
    """What onnxruntime's masks (raw, or numbers of keys) add to the scores."""
    if mask is None:
        return None
    if mask.dim() == 1:
        if mask.shape[0] != q.shape[0]:
            raise NotImplementedError("attention with start and end of keys")
        seen = torch.arange(k.shape[2]) < mask.unsqueeze(-1)
    else:
        seen = mask != 0
    while seen.dim() < 4:
        seen = seen.unsqueeze(1)
    return torch.zeros(seen.shape, dtype=q.dtype).masked_fill(~seen, low)


def _attend(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float | None, causal: bool, past: int, softcap: float = 0.0
) -> Tensor:
    """Softmax of scaled scores, over values (Vaswani et al. 2017); fewer keys than queries are shared by groups."""
    groups = q.shape[1] // k.shape[1]
    if groups > 1:
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    scores = q @ k.transpose(-1, -2) * (scale or 1 / math.sqrt(q.shape[-1]))
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    if bias is not None:
        scores = scores + bias
    if causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(past + 1)
        scores = scores.masked_fill(later, float("-inf"))
    return torch.softmax(scores, -1) @ v
