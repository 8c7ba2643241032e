"""Attention as one operator of the ONNX standard (opset 23), and what all such operators have in common."""

from __future__ import annotations

import math
from typing import NamedTuple

from spa_cli.channels.state import Axis, Channels, Decline
from spa_cli.graph.model import Node
from spa_cli.operators.contracts import ShapeOf
from spa_cli.operators.registry import register
from spa_cli.surgery.cut import Cut


class Heads(NamedTuple):
    """An axis of width ``head * dim`` seen as both."""

    head: Axis
    dim: Axis


def in_heads(state: Channels, axis: Axis, count: int) -> Heads:
    """A hidden axis as ``count`` heads, one after the other; raises Decline if it is not that."""
    width = int(axis.size or 0)
    if not count or width % count:
        raise Decline(f"{width} channels are not {count} heads")
    return Heads(*state.split(axis, (count, width // count)))


def attend(state: Channels, q: Heads, k: Heads, v: Heads) -> Heads:
    """``softmax(Q K^T) V`` per head; query heads belong to their key/value head (GQA)."""
    state.unify(k.head, v.head)
    many, few = int(q.head.size or 0), int(k.head.size or 0)
    if many != few:
        of_kv, _ = state.split(q.head, (few, many // few))
        state.unify(of_kv, k.head)
    else:
        state.unify(q.head, k.head)
    state.contract(q.dim, k.dim)
    return Heads(q.head.with_zero(v.head.zero), v.dim)


def add_mask(node: Node, state: Channels, index: int, head: Axis) -> None:
    """A mask added to the scores: one per head belongs to its head, the rest of it are positions."""
    if not node.input(index):
        return
    axes = state.of(node.inputs[index])
    for back, axis in zip(range(-len(axes), 0), axes, strict=True):
        if back == -3 and axis.size == head.size != 1:
            state.unify(head, axis)
        else:
            state.freeze(axis, "is the mask of an attention")


def heads_left(cut: Cut, name: str, axis: int, heads: int, part: slice = slice(None)) -> int:
    """How many of ``heads`` have anything left in (a part of) an axis."""
    return int(cut.kept_mask(name, axis)[part].reshape(heads, -1).any(1).sum())


def keep_scale(node: Node, cut: Cut, head_size: int) -> None:
    """The default scale ``1/sqrt(head size)`` stays that of the whole head."""
    given = node.attr("scale")
    if given is None or (node.domain and not given):
        cut.set_attribute(node, "scale", 1 / math.sqrt(head_size))


def rewrite_heads(node: Node, cut: Cut) -> None:
    """Head counts of 3-D inputs follow the heads that are left."""
    shape = cut.old_shape(node.inputs[0])
    keep_scale(node, cut, shape[-1] // int(node.attr("q_num_heads", 1)) if len(shape) == 3 else shape[-1])
    for index, name in ((0, "q_num_heads"), (1, "kv_num_heads")):
        if node.attr(name):
            cut.set_attribute(node, name, heads_left(cut, node.inputs[index], 2, int(node.attr(name))))


def attention_macs(node: Node, shape: ShapeOf) -> int:
    """Scores, a product of every query and key, and the sum of values that they weigh."""
    queries = shape(node.inputs[0])
    keys = shape(node.input(1)) if node.input(1) else queries
    length = keys[1] if len(keys) in (3, 5) else keys[-2]
    packed = 3 if len(queries) == 5 and not node.input(1) else 1
    return (math.prod(queries) // packed + math.prod(shape(node.outputs[0]))) * length


@register("Attention", rewrite=rewrite_heads, cost=attention_macs)
def attention(node: Node, state: Channels) -> None:
    """``softmax(Q K^T + mask) V`` of 3-D or 4-D inputs, with or without a cache."""
    q, k, v = (state.of(n) for n in node.inputs[:3])
    if len(q) == 3:
        counts = int(node.attr("q_num_heads", 0)), *[int(node.attr("kv_num_heads", 0))] * 2
        heads = [in_heads(state, t[2], count) for t, count in zip((q, k, v), counts, strict=True)]
    else:
        heads = [Heads(t[1], t[3]) for t in (q, k, v)]
    result = attend(state, *heads)
    length = 1 if len(q) == 3 else 2
    state.contract(k[length], v[length])
    state.freeze(k[length], "attention runs over it")
    add_mask(node, state, 3, heads[0].head)
    batch, rows = q[0].with_zero(False), q[length].with_zero(False)
    out = [batch, rows, state.merge(result)] if len(q) == 3 else [batch, result.head, rows, result.dim]
    state.set(node.outputs[0], out)
    cache(node, state, (4, 5), (1, 2), heads[1:], batch)
    if len(node.outputs) > 3 and node.outputs[3]:
        sizes = state.shape(node.outputs[3])
        state.set(
            node.outputs[3],
            [batch, heads[0].head.with_zero(False), *(state.static(s, "is a score") for s in sizes[2:])],
        )


def cache(
    node: Node, state: Channels, inputs: tuple[int, int], outputs: tuple[int, int], heads: list[Heads], batch: Axis
) -> None:
    """Keys and values of earlier tokens ``(batch, heads, tokens, dim)`` come in, those and the new ones go out."""
    for index, out, (head, dim) in zip(inputs, outputs, heads, strict=True):
        zero = head.zero, dim.zero
        if node.input(index):
            past = state.of(node.inputs[index])
            zero = head.zero and past[1].zero, dim.zero and past[3].zero
            for mine, axis in ((head, past[1]), (dim, past[3])):
                state.unify(mine, axis)
            for axis in (past[0], past[2]):
                state.freeze(axis, "attention runs over it")
        if len(node.outputs) > out and node.outputs[out]:
            sizes = state.shapes.shape.get(node.outputs[out]) or (None,) * 4
            tokens = state.static(sizes[2], "holds the tokens seen so far")
            state.set(node.outputs[out], [batch, head.with_zero(zero[0]), tokens, dim.with_zero(zero[1])])
