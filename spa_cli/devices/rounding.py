"""How much more a layer works where its kernels take channels in blocks, and what is no whole block is filled up."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from spa_cli.devices.kinds import DEPTHWISE, GROUPED, RECURRENT
from spa_cli.graph.model import Node
from spa_cli.operators import record_of
from spa_cli.operators.contracts import ShapeOf
from spa_cli.operators.labels import factors

Counts = NDArray[np.int64]
Values = NDArray[np.float64]
# from the widths of a layer, (a, k), to its numbers of channels, (k,) each
Lengths = Callable[[Counts], list[Counts]]


def filled(lengths: list[Counts], multiple: int) -> Values | float:
    """Work with each of these numbers of channels (k,) rounded up to a multiple, relative to that without, (k,)."""
    found: Values | float = 1.0
    for length in lengths:
        some = np.maximum(length, 1)
        found = found * (-(-some // multiple) * multiple / some)
    return found


def lengths_of(node: Node, kind: str, rows: Mapping[tuple[str, int], int], dense: ShapeOf) -> Lengths:
    """What a layer of a kind counts as channels.

    ``rows``: which of its widths an axis (tensor, axis) has, where channels can go from it; ``dense``: shapes of the
    whole model. A convolution has channels in and out, of a group where it has groups, a product what it sums over and
    what it gives (but no batch); of depthwise ones there is one number, recurrent layers have features and units.
    """
    if kind == DEPTHWISE:
        return lambda widths: [widths.max(0)] if len(widths) else []
    if kind == RECURRENT:
        own = {row for (name, _), row in rows.items() if name == node.inputs[0]}
        units = [row for row in set(rows.values()) if row not in own]
        # gates and biases hold several a unit
        return lambda widths: [*(widths[r] for r in own), *([widths[units].min(0)] if units else [])]
    contracts = record_of(node).contracts
    if contracts is None:
        # attention: what queries are long and what it gives; heads are a batch
        ends = [(name, len(dense(name)) - 1) for name in (node.inputs[0], node.outputs[0])]
        last = {rows[end] for end in ends if end in rows}
        return lambda widths: [widths[row] for row in last]
    names = contracts.inputs(node)
    labels = contracts.labels(node, [len(dense(name)) for name in names])
    tensors = [*zip(names, labels.terms, strict=True), (node.outputs[0], labels.result)]
    places = [(text, (name, at)) for name, axes in tensors for at, text in enumerate(axes)]
    if kind == GROUPED:
        return _of_groups(places, rows, dense)
    batch = set.intersection(*({*factors(axes)} for _, axes in tensors))
    found = {text: rows[place] for text, place in places[::-1] if place in rows and "+" not in text}
    return lambda widths: [widths[row] for text, row in found.items() if text not in batch]


def _of_groups(
    places: list[tuple[str, tuple[str, int]]], rows: Mapping[tuple[str, int], int], dense: ShapeOf
) -> Lengths:
    """The channels in and out of one group, g times as many of which lie on an axis ``(gc)`` or ``(gm)``."""
    axes: dict[str, tuple[str, int]] = {}
    for text, place in places:
        if text not in axes or place in rows:
            axes[text] = place

    def length(text: str, widths: Counts) -> Counts | int:
        name, at = axes[text]
        return widths[rows[name, at]] if (name, at) in rows else dense(name)[at]

    # a convolution's weight has the channels in of one group, a transposed one's those out
    one, other = ("c", "m") if "c" in axes else ("m", "c")

    def lengths(widths: Counts) -> list[Counts]:
        inside = length(one, widths)
        groups = np.maximum(length(f"g {one}", widths), 1) // np.maximum(inside, 1)
        return [np.asarray(inside), np.asarray(length(f"g {other}", widths) // np.maximum(groups, 1))]

    return lengths
