"""Attention as the fused operators of ``com.microsoft``."""

from __future__ import annotations

import math
from itertools import pairwise

from spa_cli.channels.state import CONSUMER, PRODUCER, Axis, Channels, Decline
from spa_cli.graph.model import Node
from spa_cli.graph.shapes import Shape
from spa_cli.operators.attention import Heads, add_mask, attend, attention_macs, cache, heads_left, in_heads, keep_scale
from spa_cli.operators.contracts import ShapeOf
from spa_cli.operators.labelled import add_bias
from spa_cli.operators.quantization import settings
from spa_cli.operators.registry import MICROSOFT, register
from spa_cli.operators.rotary import turn, whole_runs
from spa_cli.surgery.cut import Cut


def _thirds(node: Node, total: int) -> list[slice]:
    """Where Q, K and V lie in the fused projection."""
    given = node.attr("qkv_hidden_sizes") or [total // 3] * 3
    q, k = int(given[0]), int(given[1])
    return [slice(0, q), slice(q, q + k), slice(q + k, total)]


def rewrite_projection(node: Node, cut: Cut) -> None:
    """``num_heads``, the three widths, and the scale of the whole head."""
    weight, heads = node.inputs[1], int(node.attr("num_heads"))
    parts = _thirds(node, cut.old_shape(weight)[1])
    kept = cut.kept_mask(weight, 1)
    keep_scale(node, cut, parts[0].stop // heads)
    cut.set_attribute(node, "num_heads", heads_left(cut, weight, 1, heads, parts[0]))
    widths = [int(kept[part].sum()) for part in parts]
    if len(set(widths)) > 1 or node.attr("qkv_hidden_sizes"):
        cut.set_attribute(node, "qkv_hidden_sizes", widths)


def projected_macs(node: Node, shape: ShapeOf) -> int:
    """The projection, the scores, and the sum of values that they weigh."""
    batch, length, _ = shape(node.inputs[0])
    return batch * length * (math.prod(shape(node.inputs[1])) + 2 * length * shape(node.outputs[0])[-1])


def projected_shapes(node: Node, shapes: list[Shape | None]) -> list[Shape]:
    """What attention gives, and the keys and values of all tokens in one tensor."""
    batch, tokens, _ = shapes[0] or ()
    heads, values = int(node.attr("num_heads")), _thirds(node, int((shapes[1] or ())[1] or 0))[2]
    width = values.stop - values.start
    return [(batch, tokens, width), (2, batch, heads, None, width // heads)]


@register("Attention", domain=MICROSOFT, rewrite=rewrite_projection, cost=projected_macs, shape=projected_shapes)
def projected_attention(node: Node, state: Channels) -> None:
    """``input (B, S, D)``, ``weights (D, q + k + v)``, bias: projection and attention in one."""
    if node.attr("do_rotary", 0):
        raise Decline("com.microsoft::Attention with do_rotary is not followed")
    q = _project_and_attend(node, state, 4)
    state.freeze_tensor(node.input(3), "is the mask of an attention")
    add_mask(node, state, 5, q.head)


@register("QAttention", domain=MICROSOFT, rewrite=rewrite_projection, shape=projected_shapes)
def quantised_attention(node: Node, state: Channels) -> None:
    """Projection and attention in one, on integers, with one scale for all weights."""
    settings(node, state, None, (3, 4, 6, 7))
    if not state.values_zero(node.input(7)):
        raise Decline("QAttention with a zero point of its weights is not followed")
    # the operator knows one width for all three
    w, count = state.of(node.inputs[1])[1], int(node.attr("num_heads"))
    _, k, v = (in_heads(state, part, count) for part in _cut(state, w, _thirds(node, int(w.size or 0))))
    state.unify(k.dim, v.dim)
    _project_and_attend(node, state, 8)
    state.freeze_tensor(node.input(5), "is the mask of an attention")


def _project_and_attend(node: Node, state: Channels, past: int) -> Heads:
    x, w = state.of(node.inputs[0]), state.of(node.inputs[1])
    state.contract(x[2], w[0])
    state.role(node.inputs[1], 0, CONSUMER)
    state.role(node.inputs[1], 1, PRODUCER)
    out = add_bias(node, state, [w[1]], node.inputs[2])[0] if node.input(2) else w[1]
    heads = int(node.attr("num_heads"))
    q, k, v = (in_heads(state, part, heads) for part in _cut(state, out, _thirds(node, int(w[1].size or 0))))
    result = attend(state, q, k, v)
    state.freeze(x[1], "attention runs over it")
    batch, rows = x[0].with_zero(False), x[1].with_zero(False)
    state.set(node.outputs[0], [batch, rows, state.merge(result)])
    _stacked_cache(node, state, past, (k, v), batch)
    return q


def _stacked_cache(node: Node, state: Channels, index: int, heads: tuple[Heads, Heads], batch: Axis) -> None:
    """Keys and values in one tensor ``(2, batch, heads, tokens, dim)``: both keep the same dims."""
    present = node.outputs[1] if len(node.outputs) > 1 else ""
    if not (present or node.input(index)):
        return
    (head, dim), (_, other) = heads
    state.unify(dim, other)
    zero = head.zero, dim.zero and other.zero
    if node.input(index):
        past = state.of(node.inputs[index])
        zero = zero[0] and past[2].zero, zero[1] and past[4].zero
        state.unify(head, past[2])
        state.unify(dim, past[4])
        for axis in (past[0], past[1], past[3]):
            state.freeze(axis, "attention runs over it")
    if present:
        sizes = state.shapes.shape.get(present) or (None,) * 5
        tokens = state.static(sizes[3], "holds the tokens seen so far")
        both = state.static(2, "holds keys and values")
        state.set(present, [both, batch, head.with_zero(zero[0]), tokens, dim.with_zero(zero[1])])


def _cut(state: Channels, axis: Axis, parts: list[slice]) -> list[Axis]:
    return [state.derived(axis.rows[part], axis) for part in parts]


# -- projections outside ---------------------------------------------------------------------------------------------


def rewrite_multi_head(node: Node, cut: Cut) -> None:
    """``num_heads`` and the scale of the whole head."""
    heads = int(node.attr("num_heads"))
    keep_scale(node, cut, cut.old_shape(node.inputs[0])[2] // heads)
    cut.set_attribute(node, "num_heads", heads_left(cut, node.inputs[0], 2, heads))


def multi_head_shapes(node: Node, shapes: list[Shape | None]) -> list[Shape]:
    """What attention gives, and the cache of keys and of values."""
    batch, tokens, _ = shapes[0] or ()
    value, heads = shapes[2] or (), int(node.attr("num_heads"))
    size = int(value[-1] or 0) // (heads if len(value) == 3 else 1)
    cache = (batch, heads, None, size)
    return [(batch, tokens, heads * size), cache, cache]


@register(
    "MultiHeadAttention",
    domain=MICROSOFT,
    rewrite=rewrite_multi_head,
    cost=attention_macs,
    shape=multi_head_shapes,
)
def multi_head_attention(node: Node, state: Channels) -> None:
    """Q ``(B, S, N*H)``, K and V alike or, as a cache of cross attention, ``(B, N, T, H)``."""
    if len(node.outputs) > 3 or any(node.input(i) for i in (8, 9)):
        raise Decline("MultiHeadAttention with a shared cache or its scores as an output is not followed")
    x = state.of(node.inputs[0])
    if len(x) != 3 or not (node.input(1) and node.input(2)):
        raise Decline("MultiHeadAttention of packed inputs is not followed")
    count = int(node.attr("num_heads"))
    q = in_heads(state, x[2], count)
    k, v = (Heads(t[1], t[3]) if len(t) == 4 else in_heads(state, t[2], count) for t in map(state.of, node.inputs[1:3]))
    if len(state.of(node.inputs[1])) == 4:
        # in this form the kernel knows one head size
        state.unify(k.dim, v.dim)
    if node.input(3):
        q, k, v = _biased(node, state, count, (q, k, v))
    result = attend(state, q, k, v)
    for name in node.inputs[:3]:
        axes = state.of(name)
        state.freeze(axes[1 if len(axes) == 3 else 2], "attention runs over it")
    state.freeze_tensor(node.input(4), "is the mask of an attention")
    add_mask(node, state, 5, q.head)
    batch = x[0].with_zero(False)
    state.set(node.outputs[0], [batch, x[1].with_zero(False), state.merge(result)])
    cache(node, state, (6, 7), (1, 2), [k, v], batch)


def _biased(node: Node, state: Channels, count: int, heads: tuple[Heads, Heads, Heads]) -> tuple[Heads, Heads, Heads]:
    """One bias ``(q + k + v,)`` for all three."""
    (bias,) = state.of(node.inputs[3])
    start, result = 0, []
    for head, dim in heads:
        width = int(head.size or 0) * int(dim.size or 0)
        own = in_heads(state, state.derived(bias.rows[start : start + width], bias), count)
        state.unify(head, own.head)
        state.unify(dim, own.dim)
        result.append(Heads(head.with_zero(head.zero and bias.zero), dim.with_zero(dim.zero and bias.zero)))
        start += width
    return result[0], result[1], result[2]


def rewrite_grouped(node: Node, cut: Cut) -> None:
    """``num_heads``, ``kv_num_heads`` and the scale of the whole head."""
    heads, kv_heads = int(node.attr("num_heads")), int(node.attr("kv_num_heads"))
    q = node.inputs[0]
    size = cut.old_shape(q)[2] // (heads if node.input(1) else heads + 2 * kv_heads)
    keep_scale(node, cut, size)
    cut.set_attribute(node, "num_heads", heads_left(cut, q, 2, heads, slice(0, heads * size)))
    keys = slice(heads * size, (heads + kv_heads) * size)
    left = heads_left(cut, node.inputs[1], 2, kv_heads) if node.input(1) else heads_left(cut, q, 2, kv_heads, keys)
    cut.set_attribute(node, "kv_num_heads", left)


# onnxruntime's kernel refuses other head sizes: without and with rotary tables
_STEP, _ROTARY_STEP = 8, 16


def grouped_shapes(node: Node, shapes: list[Shape | None]) -> list[Shape]:
    """What attention gives, and the cache of keys and of values."""
    batch, tokens, width = shapes[0] or ()
    heads, kv_heads = int(node.attr("num_heads")), int(node.attr("kv_num_heads"))
    separate = len(shapes) > 1 and shapes[1] is not None
    size = int(width or 0) // (heads if separate else heads + 2 * kv_heads)
    cache = (batch, kv_heads, None, size)
    return [(batch, tokens, heads * size), cache, cache]


@register("GroupQueryAttention", domain=MICROSOFT, rewrite=rewrite_grouped, cost=attention_macs, shape=grouped_shapes)
def grouped_attention(node: Node, state: Channels) -> None:
    """Q ``(B, S, N*H)``, K and V ``(B, S, M*H)``, or all in one; a cache, and rotary tables if asked for."""
    if len(node.outputs) > 3 or any(node.input(i) for i in range(12, 17)):
        raise Decline("GroupQueryAttention with a quantised cache, norms or its scores as an output is not followed")
    count, kv_count = int(node.attr("num_heads")), int(node.attr("kv_num_heads"))
    x = state.of(node.inputs[0])
    if node.input(1):
        sides = [x[2], state.of(node.inputs[1])[2], state.of(node.inputs[2])[2]]
    else:
        size = int(x[2].size or 0) // (count + 2 * kv_count)
        at = [0, count * size, (count + kv_count) * size, (count + 2 * kv_count) * size]
        sides = _cut(state, x[2], [slice(a, b) for a, b in pairwise(at)])
    q, k, v = (in_heads(state, side, n) for side, n in zip(sides, (count, kv_count, kv_count), strict=True))
    # the kernel knows one head size for all three
    state.unify(k.dim, v.dim)
    pairs: Axis | None = None
    if node.attr("do_rotary", 0):
        pairs = turn(node, state, k.dim, (7, 8), bool(node.attr("rotary_interleaved", 0)))
    result = attend(state, q, k, v)
    text = f"onnxruntime's GroupQueryAttention takes head sizes in steps of {_STEP if pairs is None else _ROTARY_STEP}"
    whole_runs(state, pairs or k.dim, _STEP if pairs is None else _ROTARY_STEP // 2, text)
    if pairs is not None and 2 * int(pairs.size or 0) < int(k.dim.size or 0):
        state.freeze(state.derived(k.dim.rows[2 * int(pairs.size or 0) :], k.dim), text)
    for name in node.inputs[:3]:
        if name:
            state.freeze(state.of(name)[1], "attention runs over it")
    add_mask(node, state, 10, q.head)
    if node.input(11):
        (sink,) = state.of(node.inputs[11])
        state.unify(q.head, sink)
    batch = x[0].with_zero(False)
    state.set(node.outputs[0], [batch, x[1].with_zero(False), state.merge(result)])
    cache(node, state, (3, 4), (1, 2), [k, v], batch)
