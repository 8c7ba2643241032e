"""Sizes carried in inputs: what a node asks for, and bringing it in line after a cut."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from spa_cli.graph.model import Node
from spa_cli.surgery.cut import Cut


def effective_shape(given: Sequence[int], source: Sequence[int], allow_zero: bool) -> tuple[int, ...] | None:
    """The shape Reshape gives for ``given``, with its 0 (copy) and -1 (rest) resolved; ``None`` if it can't be."""
    sizes = [int(source[i]) if g == 0 and not allow_zero and i < len(source) else int(g) for i, g in enumerate(given)]
    total = math.prod(source)
    if -1 in sizes:
        rest = math.prod(s for s in sizes if s != -1)
        if rest == 0 or total % rest:
            return None
        sizes[sizes.index(-1)] = total // rest
    return tuple(sizes) if math.prod(sizes) == total else None


def rewrite_sizes(node: Node, cut: Cut, index: int) -> None:
    """Input ``index`` lists the sizes of the output's last axes (Expand, ConstantOfShape)."""
    wanted, old = cut.shape(node.outputs[0]), cut.old_shape(node.outputs[0])
    current = cut.value(node.inputs[index])
    count = cut.old_shape(node.inputs[index])[0]
    offset = len(wanted) - count
    changed = {}
    for i in range(count):
        size = wanted[offset + i]
        if size == old[offset + i] and (current is None or int(current[i]) in (1, size)):
            continue
        if current is None or int(current[i]) != size:
            changed[i] = size
    # an entry of 1 follows its input; what the input has already is not asked for
    if index == 1 and current is not None:
        source = cut.shape(node.inputs[0])
        changed = {
            i: s
            for i, s in changed.items()
            if not (int(current[i]) == 1 and len(source) >= count - i and source[i - count] == s)
        }
    cut.set_elements(node, index, changed)


def rewrite_repeats(node: Node, cut: Cut) -> None:
    """Tile: only an axis of one that was repeated can have shrunk by itself."""
    source, wanted = cut.shape(node.inputs[0]), cut.shape(node.outputs[0])
    needed = [w // max(s, 1) for w, s in zip(wanted, source, strict=True)]
    current = cut.value(node.inputs[1])
    if current is None or not np.array_equal(current, needed):
        cut.set_elements(node, 1, {i: n for i, n in enumerate(needed) if current is None or int(current[i]) != n})
