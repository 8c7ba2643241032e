"""What stands in for a block that went whole: the constant, fitted to what the block gave.

Where the block was added, the best constant is the mean over all samples and positions of what it gave (less what the
networks differ by before it); where it was a factor, the regression through zero of what came out on what goes in. A
linear stand-in ``W x + b`` is no more than that wherever the skip is a tensor that others read, too: folding ``W`` into
what makes it would change what those get. Where the skip is a layer (a projection), its refit takes the block up:
``regression.py`` asks it for the whole sum.
"""

from __future__ import annotations

import numpy as np

from spa_cli.graph.model import Array, Node
from spa_cli.obspa.regression import aligned
from spa_cli.obspa.unfit import Unfit
from spa_cli.runtime.interpreter import Interpreter
from spa_cli.surgery.cut import Cut


def stand_in(node: Node, work: Cut, dense: Interpreter, pruned: Interpreter) -> bool:
    """Fit the constant that a sum, or a product, reads instead of a block; whether it was fitted.

    Both networks have run ``node``, which keeps its constant if the two can't be aligned.
    """
    output = node.outputs[0]
    name = work.held[output]
    held = pruned.parameter(name)
    factor = node.op == "Mul"
    if held is None or node.op not in ("Add", "Sum", "Mul") or held.size == 1 or (not held.all() and factor):
        return False
    kept = tuple(axis for axis, size in enumerate(held.shape) if size > 1)
    # sums of ours, of what it should be beside it, and how many there are
    over, beside, count = np.zeros(held.shape), np.zeros(held.shape), 0.0
    try:
        for chunk in range(dense.count):
            ours = np.asarray(pruned.values[output][chunk], np.float64)
            theirs = aligned(work, output, np.asarray(dense.values[output][chunk], np.float64))
            if ours.shape != theirs.shape or ours.ndim != held.ndim:
                return False
            axes = tuple(axis for axis in range(ours.ndim) if axis not in kept)
            over += (ours * theirs if factor else theirs - ours).sum(axes, keepdims=True)
            beside += np.square(ours).sum(axes, keepdims=True)
            count += ours.size / held.size
    except Unfit:
        return False
    fitted: Array = held * over / np.maximum(beside, 1e-30) if factor else held + over / count
    pruned.write(name, fitted)
    return True
