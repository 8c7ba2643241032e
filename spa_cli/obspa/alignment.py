"""Comparing the dense network's tensors with the pruned one's."""

from __future__ import annotations

import numpy as np

from spa_cli.graph.model import Array
from spa_cli.surgery.cut import Cut


def aligned(work: Cut, name: str, value: Array) -> Array | str:
    """A value of a dense tensor without what was cut of it; a sentence where that can't be said index by index."""
    entry = work.kept_indices(name)
    if any(kept and isinstance(kept[0], list) for kept in entry.values()):
        return "its blocks keep different channels along another axis"
    for axis in map(int, entry):
        mask = work.kept_mask(name, axis)
        if len(mask) != value.shape[axis]:
            return "its positions depend on the batch"
        value = np.compress(mask, value, axis)
    return value
