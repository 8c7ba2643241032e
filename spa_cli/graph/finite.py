"""Whether arrays hold nothing but numbers, and where one doesn't."""

from __future__ import annotations

import numpy as np

from spa_cli.graph.model import Array


def not_finite(array: Array) -> str:
    """The first that is no number, like "NaN at [2, 0, 1]", or "": integers and words always are some."""
    if array.dtype.kind == "V":
        # bfloat16 and smaller, which fit in single precision
        array = array.astype(np.float32)
    if array.dtype.kind not in "fc":
        return ""
    odd = ~np.isfinite(array)
    if not odd.any():
        return ""
    at = np.unravel_index(int(odd.argmax()), odd.shape)
    kind = "NaN" if np.isnan(array[at]) else "infinity"
    return f"{kind} at {[int(i) for i in at]}" if at else kind
