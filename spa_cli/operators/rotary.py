"""Rotary position embeddings as one operator: pairs of head dims turned by tables that all heads share."""

from __future__ import annotations

from spa_cli.channels.state import PASS_THROUGH, Axis, Channels, Decline
from spa_cli.graph.model import Node
from spa_cli.operators.attention import heads_left, in_heads
from spa_cli.operators.registry import BOTH, like_first, register
from spa_cli.surgery.cut import Cut


def rewrite_rotary(node: Node, cut: Cut) -> None:
    """``num_heads`` and ``rotary_embedding_dim`` follow what is left."""
    heads = int(node.attr("num_heads", 0))
    if heads and len(cut.shape(node.inputs[0])) == 3:
        cut.set_attribute(node, "num_heads", heads_left(cut, node.inputs[0], 2, heads))
    if node.attr("rotary_embedding_dim", 0):
        table = node.inputs[_tables(node)[0]]
        cut.set_attribute(node, "rotary_embedding_dim", 2 * cut.shape(table)[-1])


@register("RotaryEmbedding", domain=BOTH, rewrite=rewrite_rotary, shape=like_first)
def rotary(node: Node, state: Channels) -> None:
    """``(batch, tokens, heads * dim)`` or ``(batch, heads, tokens, dim)``; each pair of dims is one channel."""
    x = list(state.of(node.inputs[0]))
    first, second = _tables(node)
    width = int(state.of(node.inputs[first])[-1].size or 0)
    if len(x) == 3:
        count = int(node.attr("num_heads", 0)) or int(x[2].size or 0) // max(2 * width, 1)
        heads = in_heads(state, x[2], count)
        turn(node, state, heads.dim, (first, second), bool(node.attr("interleaved", 0)))
        x[2] = state.merge(heads)
    else:
        turn(node, state, x[3], (first, second), bool(node.attr("interleaved", 0)))
    state.freeze(x[1 if len(x) == 3 else 2], "is turned by its position")
    positions = 1 if node.domain else 3
    state.freeze_tensor(node.input(positions), "holds positions")
    state.set(node.outputs[0], x)


def _tables(node: Node) -> tuple[int, int]:
    return (2, 3) if node.domain else (1, 2)


def turn(node: Node, state: Channels, dim: Axis, tables: tuple[int, int], interleaved: bool) -> Axis:
    """Tie the pairs of ``dim`` to the columns of the cosine and sine tables; the axis of pairs.

    Dims beyond the tables' width are not turned and stay on their own. Raises Decline if the tables are wider.
    """
    cos, sin = (state.of(node.inputs[i]) for i in tables)
    pairs = int(cos[-1].size or 0)
    if not pairs or 2 * pairs > int(dim.size or 0):
        raise Decline(f"rotary tables of {pairs} columns don't fit {dim.size} head dims")
    turned = dim if 2 * pairs == dim.size else state.derived(dim.rows[: 2 * pairs], dim)
    if interleaved:
        column, half = state.split(turned, (pairs, 2))
    else:
        half, column = state.split(turned, (2, pairs))
    state.freeze(half, "is one half of a rotated pair")
    for index, table in zip(tables, (cos, sin), strict=True):
        state.unify(column, table[-1])
        state.role(node.inputs[index], len(table) - 1, PASS_THROUGH)
        for axis in table[:-1]:
            state.freeze(axis, "holds positions")
    return column


def whole_runs(state: Channels, axis: Axis, size: int, text: str) -> None:
    """Channels of ``axis`` go in runs of ``size`` only, for the reason ``text``."""
    width = int(axis.size or 0)
    if width % size:
        state.freeze(axis, text)
        return
    _, inside = state.split(axis, (width // size, size))
    state.freeze(inside, text)
