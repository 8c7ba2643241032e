"""Normalisations: per channel they are exact; over channels, removing changes what they measure."""

from __future__ import annotations

from spa_cli.channels.state import PASS_THROUGH, PRODUCER, Axis, Channels, Decline
from spa_cli.graph.model import Node
from spa_cli.graph.shapes import Shape
from spa_cli.operators.labelled import add_bias
from spa_cli.operators.registry import APPROXIMATE, BOTH, MICROSOFT, Norm, like_first, register
from spa_cli.surgery.cut import Cut

_LAST, _LAST_SCALE = Norm(axis=-1), Norm(axis=-1, offset=-1)


def _affine(node: Node, state: Channels, axis: Axis, first: int) -> Axis:
    """Couple the per-channel parameters (inputs ``first`` on) with a channel axis."""
    for name in node.inputs[first:]:
        if name:
            (own,) = state.of(name)
            if own.size != 1:
                state.unify(axis, own)
                state.role(name, 0, PASS_THROUGH)
    return axis


# running mean and variance are measured, not learned; in inference it is a line per element
@register("BatchNormalization", norm=Norm(axis=1), settings=(3, 4))
@register("InstanceNormalization", behaviour=APPROXIMATE, norm=Norm(axis=1))
def per_channel_norm(node: Node, state: Channels) -> None:
    """Scale and bias are zeroed with their channel, so the channel is zero whatever the statistics."""
    x = list(state.of(node.inputs[0]))
    x[1] = _affine(node, state, x[1], 1).with_zero(True)
    if node.op == "InstanceNormalization":
        for axis in x[2:]:
            state.inexact(axis, "InstanceNormalization measures mean and variance over it")
    state.set(node.outputs[0], [a if i == 1 else a.with_zero(False) for i, a in enumerate(x)])
    for name in node.outputs[1:]:
        if not name:
            continue
        if node.op == "BatchNormalization" and state.shapes.shape.get(name, (0, 0))[1:] == ():
            state.set(name, [x[1]])
        else:
            raise Decline("BatchNormalization in training form with old optional outputs is not followed")


@register("LayerNormalization", domain=BOTH, behaviour=APPROXIMATE, norm=_LAST, shape=like_first)
@register("RMSNormalization", behaviour=APPROXIMATE, norm=_LAST_SCALE)
@register("SimplifiedLayerNormalization", domain=BOTH, behaviour=APPROXIMATE, norm=_LAST_SCALE, shape=like_first)
def layer_norm(node: Node, state: Channels) -> None:
    """Normalises over the last axes: allowed, approximate."""
    x = list(state.of(node.inputs[0]))
    first = int(node.attr("axis", -1)) % len(x)
    state.set(node.outputs[0], normalized(node, state, x, first, node.inputs[1:3]))
    statistics = [a if i < first else state.static(1, "is a statistic") for i, a in enumerate(x)]
    for name in node.outputs[1:]:
        state.set(name, [a.with_zero(False) for a in statistics])


def normalized(node: Node, state: Channels, x: list[Axis], first: int, affine: tuple[str, ...]) -> list[Axis]:
    """Axes after a normalisation over ``x[first:]`` with scale and bias in ``affine``."""
    for axis in x[first:]:
        state.inexact(axis, f"{node.op} measures its scale over it")
    out = [a.with_zero(False) for a in x[:first]] + [a.with_zero(True) for a in x[first:]]
    for name in affine:
        if name:
            out = add_bias(node, state, out, name)
    return out


@register(
    "SkipLayerNormalization",
    domain=MICROSOFT,
    behaviour=APPROXIMATE,
    norm=Norm(axis=-1, scale=2, offset=3),
    shape=like_first,
)
@register(
    "SkipSimplifiedLayerNormalization",
    domain=MICROSOFT,
    behaviour=APPROXIMATE,
    norm=Norm(axis=-1, scale=2, offset=-1),
    shape=like_first,
)
def skip_layer_norm(node: Node, state: Channels) -> None:
    """``norm(input + skip + bias)``; the sum is the fourth output."""
    x, skip = state.of(node.inputs[0]), state.of(node.inputs[1])
    if len(x) != len(skip):
        raise Decline("SkipLayerNormalization with a broadcast skip is not followed")
    total = []
    for a, b in zip(x, skip, strict=True):
        if b.size != a.size:
            raise Decline("SkipLayerNormalization with a broadcast skip is not followed")
        total.append(state.together([a, b]).with_zero(a.zero and b.zero))
    simple = node.op == "SkipSimplifiedLayerNormalization"
    affine = (node.input(2),) if simple else (node.input(2), node.input(3))
    bias = node.input(3) if simple else node.input(4)
    if bias:
        total = add_bias(node, state, total, bias)
    state.set(node.outputs[0], normalized(node, state, total, len(total) - 1, affine))
    for name in node.outputs[1:3]:
        state.set(name, [*(a.with_zero(False) for a in total[:-1]), state.static(1, "is a statistic")])
    if len(node.outputs) > 3:
        state.set(node.outputs[3], total)


def embedding_shapes(node: Node, shapes: list[Shape | None]) -> list[Shape]:
    """The normalised sum, where the mask ends, and the sum."""
    batch, tokens = shapes[0] or ()
    total = (batch, tokens, (shapes[2] or ())[1])
    return [total, (batch,), total]


@register("EmbedLayerNormalization", domain=MICROSOFT, behaviour=APPROXIMATE, shape=embedding_shapes)
def embed_layer_norm(node: Node, state: Channels) -> None:
    """Word, position and segment embeddings, their sum, and its LayerNorm."""
    ids, total = state.of(node.inputs[0]), None
    for index in (0, 1, 7, 8):
        state.freeze_tensor(node.input(index), "holds indices")
    for index in (2, 3, 4):
        if node.input(index):
            rows, width = state.of(node.inputs[index])
            state.freeze(rows, "is looked up by data-dependent indices")
            state.role(node.inputs[index], 1, PRODUCER)
            total = total or width
            state.unify(total, width)
            total = total.with_zero(total.zero and width.zero)
    if total is None:
        raise Decline("EmbedLayerNormalization without a table is not a known form")
    axes = [a.with_zero(False) for a in ids] + [total]
    state.set(node.outputs[0], normalized(node, state, axes, 2, (node.input(5), node.input(6))))
    if len(node.outputs) > 1:
        state.set(node.outputs[1], [ids[0].with_zero(False)])
    if len(node.outputs) > 2:
        state.set(node.outputs[2], axes)


def rewrite_group_norm(node: Node, cut: Cut) -> None:
    """``num_groups``: whole groups may be gone."""
    groups = int(node.attr("num_groups"))
    kept = cut.kept_mask(node.inputs[0], 1).reshape(groups, -1).any(1)
    cut.set_attribute(node, "num_groups", int(kept.sum()))


@register("GroupNormalization", rewrite=rewrite_group_norm, behaviour=APPROXIMATE, norm=Norm(axis=1))
def group_norm(node: Node, state: Channels) -> None:
    """Whole groups go exactly, channels inside all groups approximately."""
    x = list(state.of(node.inputs[0]))
    groups = int(node.attr("num_groups"))
    of_group, inside = state.split(x[1], (groups, int(x[1].size or 0) // groups))
    state.inexact(inside, "GroupNormalization measures mean and variance over it")
    per_channel = node.version >= 21
    for name in node.inputs[1:3]:
        (own,) = state.of(name)
        state.unify(x[1] if per_channel else of_group, own)
        state.role(name, 0, PASS_THROUGH)
    x[1] = x[1].with_zero(per_channel)
    for axis in x[2:]:
        state.inexact(axis, "GroupNormalization measures mean and variance over it")
    state.set(node.outputs[0], [x[0].with_zero(False), x[1], *(a.with_zero(False) for a in x[2:])])


@register("LpNormalization", "MeanVarianceNormalization", behaviour=APPROXIMATE)
def norm_over(node: Node, state: Channels) -> None:
    """A norm over given axes."""
    x = state.of(node.inputs[0])
    default = [0, 2, 3] if node.op == "MeanVarianceNormalization" else [-1]
    axes = node.attr("axes") or ([node.attr("axis")] if node.attr("axis") is not None else default)
    over = {int(a) % len(x) for a in axes}
    for at in over:
        # a 2-norm does not see zeros; a mean and a variance do
        if node.op != "LpNormalization" or not x[at].zero:
            state.inexact(x[at], f"{node.op} measures its scale over it")
    state.set(
        node.outputs[0], [a.with_zero(a.zero and node.op == "LpNormalization" and i in over) for i, a in enumerate(x)]
    )


@register("Softmax", "LogSoftmax", "Hardmax")
def softmax(node: Node, state: Channels) -> None:
    """Every channel's value depends on which others there are."""
    x = state.of(node.inputs[0])
    old = node.version < 13
    first = int(node.attr("axis", 1 if old else -1)) % max(len(x), 1)
    over = range(first, len(x)) if old else [first]
    for at in over:
        state.freeze(x[at], f"{node.op} runs over it")
    state.set(node.outputs[0], [a.with_zero(False) for a in x])


@register("LRN")
def local_response(node: Node, state: Channels) -> None:
    """Every channel is scaled by its neighbours."""
    x = state.of(node.inputs[0])
    state.freeze(x[1], "LRN mixes each channel with its neighbours")
    state.set(node.outputs[0], x)
