"""What samples are, as the model is given them: in a line, and as pictures."""

from __future__ import annotations

import numpy as np

from spa_cli.calibration.chunks import Calibration
from spa_cli.graph.model import Array
from spa_cli.text import said_once

# channels of a picture; a side of fewer pixels is none
_CHANNELS, _SMALL = (1, 3), 4


def in_a_line(samples: Calibration) -> str:
    """Which samples, and per input what one is: its kind, shape, and the values of the first ones."""
    first = samples.chunks[0]
    told = said_once({f"'{name}'": _told(array) for name, array in first.items()})
    return f"{samples.about}; {', '.join(f'{names} {words}' for words, names in told.items())}"


def _told(array: Array) -> str:
    shape = "x".join(map(str, array.shape[1:])) or "single numbers"
    if array.dtype.kind not in "fiu" or not array.size:
        return shape
    kind = "pictures of " if _in_order(array) is not None else ""
    return f"{kind}{shape}, values {array.min():.3g} to {array.max():.3g}"


def pictured(array: Array, color: str = "rgb") -> Array | None:
    """(n, height, width, 3), from 0 to 1, of samples that can be shown; ``None`` for what is no picture.

    Their values are spread between the least and the largest of all: what normalised them does not matter.
    """
    pixels = _in_order(array)
    if pixels is None:
        return None
    shown = pixels.astype(np.float64)
    if color == "bgr":
        shown = shown[..., ::-1]
    low, high = shown.min(), shown.max()
    return np.broadcast_to((shown - low) / ((high - low) or 1.0), (*shown.shape[:3], 3))


def _in_order(array: Array) -> Array | None:
    """The same pixels as (n, height, width, channels), not copied; ``None`` for what is no picture."""
    # three axes are a sequence more often than a picture without channels, four channels the heads of a cache
    if array.ndim != 4 or array.dtype.kind not in "fiu":
        return None
    if array.shape[1] in _CHANNELS:
        array = array.transpose(0, 2, 3, 1)
    return array if array.shape[3] in _CHANNELS and min(array.shape[1:3]) >= _SMALL else None
