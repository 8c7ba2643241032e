"""Recalibration: a normalisation that no layer absorbs gets the scale and offset that bring it back to the original.

A BatchNorm behind a concatenation, a LayerNorm, RMSNorm, InstanceNorm or GroupNorm whose input has changed: its
statistics are no longer those it was trained with. Per channel, the dense output is regressed on the pruned one, and
scale and offset take the result up. (Where BatchNorm was folded, the refit of the layer does the same to its bias.)
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from spa_cli.graph.model import Array, Graph, Node
from spa_cli.obspa.layers import Layer
from spa_cli.obspa.regression import aligned
from spa_cli.obspa.unfit import Unfit
from spa_cli.operators import record_of
from spa_cli.runtime.interpreter import Interpreter
from spa_cli.surgery.cut import Cut

# numbers that a scale and an offset are fitted to: a fifth of a gigabyte
_MOST = 25_000_000


@dataclass(frozen=True, eq=False)
class Affine:
    """A node whose output is ``scale * something + offset`` per channel of ``axis``; ``offset`` may be absent."""

    node: Node
    axis: int
    scale: str
    offset: str


def find_affines(graph: Graph, layers: list[Layer]) -> dict[str, Affine]:
    """Norms with a scale of their own per channel that no layer takes up, by output."""
    absorbed = {layer.around.norm.outputs[0] for layer in layers if layer.around.norm is not None and not layer.unfit}
    found = {}
    for node in graph.nodes:
        norm = record_of(node).norm
        if norm is None or node.outputs[0] in absorbed:
            continue
        scale, offset = node.input(norm.scale), node.input(norm.offset) if norm.offset >= 0 else ""
        alone = all(n in graph.parameters and len(graph.consumers[n]) == 1 for n in (scale, offset) if n)
        if scale and alone and len(graph.shape(scale)) == 1:
            found[node.outputs[0]] = Affine(node, norm.axis, scale, offset)
    return found


def recalibrate(affine: Affine, work: Cut, dense: Interpreter, pruned: Interpreter) -> bool:
    """Fit scale and offset on three quarters of the samples; keep them if they do better on the last one."""
    name = affine.node.outputs[0]
    scale, offset = pruned.parameter(affine.scale), pruned.parameter(affine.offset) if affine.offset else None
    if scale is None:
        return False
    try:
        each = pruned.values[name].shapes
        step = max(1, sum(map(math.prod, each)) // _MOST)
        ours = _per_channel(pruned.values[name], affine.axis, step)
        theirs = _per_channel((aligned(work, name, v) for v in dense.values[name]), affine.axis, step)
    except Unfit:
        return False
    if ours.shape != theirs.shape or ours.shape[1] != len(scale) or np.array_equal(ours, theirs):
        return False
    cut = max(1, 3 * len(ours) // 4)
    if cut == len(ours):
        return False
    gain, shift = _line(ours[:cut], theirs[:cut], offset is not None)
    before = np.square(ours[cut:] - theirs[cut:]).mean(0)
    after = np.square(gain * ours[cut:] + shift - theirs[cut:]).mean(0)
    better = after < before
    if not better.any():
        return False
    gain, shift = np.where(better, gain, 1.0), np.where(better, shift, 0.0)
    pruned.write(affine.scale, scale * gain)
    if offset is not None:
        pruned.write(affine.offset, offset * gain + shift)
    return True


def _per_channel(chunks: Iterable[Array], axis: int, step: int) -> Array:
    """(rows, channels) of all chunks; every so many rows where they are more than two numbers a channel need."""
    rows = [np.moveaxis(c, axis, -1).reshape(-1, c.shape[axis])[::step].astype(np.float64) for c in chunks]
    return np.concatenate(rows)


def _line(x: Array, y: Array, free: bool) -> tuple[Array, Array]:
    """Gain and shift per channel that minimise ``|gain x + shift - y|``, shrunk a little towards gain 1."""
    mx, my = (x.mean(0), y.mean(0)) if free else (0.0, 0.0)
    variance = np.square(x - mx).mean(0)
    level = 1e-3 * variance.mean() + 1e-12
    gain = (((x - mx) * (y - my)).mean(0) + level) / (variance + level)
    return gain, np.asarray(my - gain * mx) + np.zeros(x.shape[1])
