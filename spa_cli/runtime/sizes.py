"""Sizes that free dimensions are given where nobody says any."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """``batch``: samples. ``height``, ``width``: pixels. ``length``: tokens, frames. ``channels``: of an image."""

    batch: int
    height: int
    width: int
    length: int
    channels: int = 3


def _square(batch: int, space: int, length: int) -> Sizes:
    return Sizes(batch, space, space, length)


# the most usual first; detectors are exported for the next four
USUAL = (
    _square(1, 224, 16),
    _square(1, 320, 32),
    _square(1, 416, 128),
    _square(1, 512, 64),
    _square(1, 640, 512),
    _square(1, 64, 256),
    _square(1, 32, 16000),
    _square(1, 128, 1),
    _square(2, 224, 16),
    _square(1, 256, 16),
    _square(8, 16, 8),
    _square(1, 1, 1),
)
