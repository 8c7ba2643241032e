"""Weights of which several share a byte."""

from __future__ import annotations

import math

from spa_cli.channels.state import CONSUMER, PASS_THROUGH, PRODUCER, Axis, Channels, Decline
from spa_cli.graph.model import Node
from spa_cli.operators.contracts import ShapeOf
from spa_cli.operators.registry import MICROSOFT, register
from spa_cli.operators.rotary import whole_runs
from spa_cli.surgery.cut import Cut

_BLOCK = "is packed in blocks that share a scale"


def rewrite_packed(node: Node, cut: Cut) -> None:
    """``N`` and ``K``: the rows and inputs that are left."""
    cut.set_attribute(node, "N", cut.shape(node.inputs[1])[0])
    cut.set_attribute(node, "K", cut.shape(node.inputs[0])[-1])


def packed_macs(node: Node, shape: ShapeOf) -> int:
    """Those of the product; the weight's own shape counts bytes."""
    return math.prod(shape(node.outputs[0])) * shape(node.inputs[0])[-1]


@register("MatMulNBits", domain=MICROSOFT, rewrite=rewrite_packed, cost=packed_macs)
def packed_matmul(node: Node, state: Channels) -> None:
    """``B (N, blocks, bytes)`` holds K packed: outputs go one by one, inputs in whole blocks."""
    if node.input(4) or node.attr("weight_prepacked", 0):
        raise Decline("MatMulNBits with a group index or a prepacked weight is not followed")
    x, (rows, blocks, within) = list(state.of(node.inputs[0])), state.of(node.inputs[1])
    state.freeze(within, _BLOCK)
    size, count = int(node.attr("block_size")), int(blocks.size or 0)
    if int(x[-1].size or 0) == size * count:
        of_block, inside = state.split(x[-1], (count, size)) if count > 1 else (blocks, x[-1])
        state.freeze(inside, _BLOCK)
        # a zeroed block does not stand for zero, its zeroed scale does
        state.contract(of_block, blocks.with_zero(True))
    else:
        # the last block is padded
        state.freeze(x[-1], _BLOCK)
        state.freeze(blocks, _BLOCK)
    # bytes of several weights have no magnitude: the scales speak for them
    scales = node.inputs[2]
    state.role(scales, 0, PRODUCER)
    if len(state.of(scales)) > 1:
        state.role(scales, 1, CONSUMER)
    for index in (2, 3):
        if node.input(index):
            _per_block(node, state, index, rows, blocks)
    out = rows.with_zero(True)
    if node.input(5):
        (bias,) = state.of(node.inputs[5])
        state.unify(rows, bias)
        state.role(node.inputs[5], 0, PASS_THROUGH)
        out = rows.with_zero(bias.zero)
    state.set(node.outputs[0], [*(a.with_zero(False) for a in x[:-1]), out])


def _per_block(node: Node, state: Channels, index: int, rows: Axis, blocks: Axis) -> None:
    """Scales or zero points ``(N, blocks)``, also flattened; zero points may share bytes."""
    name = node.inputs[index]
    own, n, count = state.of(name), int(rows.size or 0), int(blocks.size or 0)
    if len(own) == 1:
        per_row, rest = divmod(int(own[0].size or 0), n)
        if rest:
            raise Decline("the scales of MatMulNBits are not per row")
        own = state.split(own[0], (n, per_row)) if per_row > 1 else [own[0], state.static(1, _BLOCK)]
    state.unify(own[0], rows)
    if own[1].size == count:
        state.unify(own[1], blocks)
        return
    # so many blocks share a byte: they go together
    share = count // int(own[1].size or 1)
    if share * int(own[1].size or 0) != count:
        state.freeze(own[1], _BLOCK)
        state.freeze(blocks, _BLOCK)
        return
    whole_runs(state, blocks, share, _BLOCK)
    together, _ = state.split(blocks, (count // share, share)) if share < count else (own[1], None)
    state.unify(together, own[1])
