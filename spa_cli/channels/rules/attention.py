"""Attention and its kin as single operators of the ONNX standard (opset 23)."""

from __future__ import annotations

import math

from spa_cli.channels.rules.registry import register
from spa_cli.channels.state import Channels, Decline
from spa_cli.graph.model import Node
from spa_cli.surgery.cut import Cut


def rewrite_heads(node: Node, cut: Cut) -> None:
    """Head counts of 3-D inputs follow the heads that are left; the default scale stays that of the whole head."""
    if node.attr("scale") is None:
        width = cut.old_shape(node.inputs[0])[-1]
        cut.set_attribute(node, "scale", 1 / math.sqrt(width // int(node.attr("q_num_heads", 1))))
    for index, name in ((0, "q_num_heads"), (1, "kv_num_heads")):
        heads = node.attr(name)
        if heads:
            kept = cut.kept_mask(node.inputs[index], 2).reshape(int(heads), -1).any(1)
            cut.set_attribute(node, name, int(kept.sum()))


@register("Attention", rewrite=rewrite_heads)
def attention(node: Node, state: Channels) -> None:
    """``softmax(Q K^T) V`` per head; query heads belong to their key/value head (GQA)."""
    if len([o for o in node.outputs if o]) > 1 or node.input(4) or node.input(5):
        raise Decline("Attention with a cache or its scores as outputs is not followed")
    q, k, v = (state.of(n) for n in node.inputs[:3])
    if len(q) == 3:
        q_heads, kv_heads = int(node.attr("q_num_heads")), int(node.attr("kv_num_heads"))
        q_head, q_dim = state.split(q[2], (q_heads, int(q[2].size or 0) // q_heads))
        k_head, k_dim = state.split(k[2], (kv_heads, int(k[2].size or 0) // kv_heads))
        v_head, v_dim = state.split(v[2], (kv_heads, int(v[2].size or 0) // kv_heads))
    else:
        (q_head, q_dim), (k_head, k_dim), (v_head, v_dim) = ((t[1], t[3]) for t in (q, k, v))
        q_heads, kv_heads = int(q_head.size or 0), int(k_head.size or 0)
    state.unify(k_head, v_head)
    if q_heads != kv_heads:
        of_kv, _ = state.split(q_head, (kv_heads, q_heads // kv_heads))
        state.unify(of_kv, k_head)
    else:
        state.unify(q_head, k_head)
    state.contract(q_dim, k_dim)
    length = 1 if len(q) == 3 else 2
    state.contract(k[length], v[length])
    state.freeze(k[length], "attention runs over it")
    if node.input(3):
        for axis in state.of(node.inputs[3]):
            state.freeze(axis, "is the mask of an attention")
    head, dim = q_head.with_zero(v_head.zero), v_dim.with_zero(v_dim.zero)
    batch, rows = q[0].with_zero(False), q[length].with_zero(False)
    out = [batch, rows, state.merge([head, dim])] if len(q) == 3 else [batch, head, rows, dim]
    state.set(node.outputs[0], out)


@register("RotaryEmbedding", follows=False)
def rotary(node: Node, state: Channels) -> None:
    """Rotates pairs of head dims by tables shared between heads."""
    raise Decline("RotaryEmbedding as one operator is not followed yet")
