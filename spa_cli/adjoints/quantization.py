"""Quantised numbers: rounding lets gradients straight through, inside the range."""

from __future__ import annotations

from collections.abc import Mapping

from spa_cli.adjoints.emitter import NoAdjoint, Value
from spa_cli.adjoints.table import MICROSOFT, Call, Gradient, adjoint_of

_RANGES = {2: (0.0, 255.0), 3: (-128.0, 127.0), 4: (0.0, 65535.0), 5: (-32768.0, 32767.0)}


def _along(c: Call, value: Value, at: int) -> Value:
    """A scale or a zero point per channel, ready to broadcast."""
    if c.rank(at) == 0 or c.fixed(at) == [1]:
        return value
    if c.rank(at) > 1:
        raise NoAdjoint("it quantises in blocks")
    return c.emit.unsqueeze(value, list(range(1, c.rank() - c.axis(1))))


@adjoint_of("QuantizeLinear", MICROSOFT, inputs=(0,), quantises=True)
@adjoint_of("QuantizeLinear", inputs=(0,), quantises=True)
def quantize(c: Call) -> Value:
    """By the scale, where nothing was cut off."""
    dtype = c.x(2).dtype if c.has(2) else 2
    if dtype not in _RANGES:
        raise NoAdjoint("the range of its type is not known")
    low, high = _RANGES[dtype]
    scale = _along(c, c.x(1), 1)
    at = c.x() / scale
    if c.has(2):
        at = at + _along(c, c.emit.cast(c.x(2), at.dtype), 2)
    inside = c.emit.op("And", at > low - 0.5, at < high + 0.5, dtype=9)
    return (c.g / scale).where(inside)


@adjoint_of("DequantizeLinear", MICROSOFT, inputs=(0, 1))
@adjoint_of("DequantizeLinear", inputs=(0, 1))
def dequantize(c: Call) -> Mapping[int, Gradient]:
    """By the scale, and the scale by what it multiplies."""

    def scale() -> Value:
        e = c.emit
        off = e.cast(c.x(), c.g.dtype)
        if c.has(2):
            off = off - _along(c, e.cast(c.x(2), c.g.dtype), 2)
        rank, found = c.rank(), c.g * off
        axes = list(range(rank)) if c.rank(1) == 0 or c.fixed(1) == [1] else [i for i in range(rank) if i != c.axis(1)]
        return e.reshape(e.reduce(found, axes, keepdims=False), e.shape(c.x(1)))

    return {0: lambda: c.g * _along(c, c.x(1), 1), 1: scale}
