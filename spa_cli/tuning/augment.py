"""Samples made of samples: the original answers whatever it is shown, so that none has to be real."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from spa_cli.graph.model import Array
from spa_cli.options.tune import WAYS

CROP, FLIP, MIX = WAYS
# of an image's size, how far it may be moved
_SHIFT = 1 / 8
# of the samples, those that are mixed with another
_MIXED = 0.5
# more are no colours
_COLOURS = 4
# beside the inputs of a run what its samples were told; no tensor is called so
TOLD = "what samples were told"


def ways_for(feeds: Mapping[str, Array]) -> tuple[str, ...]:
    """What can be done to these inputs: images are cropped, flipped and mixed, other numbers mixed, tokens left."""
    values = [value for name, value in feeds.items() if name != TOLD]
    if len(values) != 1:
        return ()
    (value,) = values
    if colours_of(value) is not None:
        return WAYS
    return (MIX,) if value.dtype.kind == "f" and value.ndim > 1 else ()


def colours_of(value: Array) -> int | None:
    """The axis of the colours of a batch of images, ``None`` if it is none."""
    if value.ndim != 4 or not (value.dtype.kind == "f" or value.dtype == np.uint8):
        return None
    return next((axis for axis in (1, 3) if value.shape[axis] <= _COLOURS), None)


def augmented(feeds: dict[str, Array], ways: tuple[str, ...], rng: np.random.Generator) -> dict[str, Array]:
    """The same number of other samples; what has no image stays where it is, all is mixed alike."""
    found = dict(feeds)
    if CROP in ways or FLIP in ways:
        for name, value in feeds.items():
            colours = colours_of(value)
            if colours is None or name == TOLD:
                continue
            # height and width last
            image = np.moveaxis(value, colours, 1)
            image = _cropped(image, rng) if CROP in ways else image
            image = _flipped(image, rng) if FLIP in ways else image
            found[name] = np.ascontiguousarray(np.moveaxis(image, 1, colours))
    return _mixed(found, rng) if MIX in ways else found


def _cropped(images: Array, rng: np.random.Generator) -> Array:
    """Each moved by a part of its size; what comes in at a side repeats what was there."""
    (height, width), count = images.shape[2:], len(images)
    reach = [max(1, round(size * _SHIFT)) for size in (height, width)]
    moves = [rng.integers(-r, r + 1, count) for r in reach]
    found = np.empty_like(images)
    for i in range(count):
        rows = np.clip(np.arange(height) + moves[0][i], 0, height - 1)
        columns = np.clip(np.arange(width) + moves[1][i], 0, width - 1)
        found[i] = images[i][:, rows][:, :, columns]
    return found


def _flipped(images: Array, rng: np.random.Generator) -> Array:
    """Every other one the other way round."""
    turn = rng.random(len(images)) < 0.5
    return np.where(turn[:, None, None, None], images[..., ::-1], images)


def _mixed(feeds: dict[str, Array], rng: np.random.Generator) -> dict[str, Array]:
    """Some of them a mean of two, in any proportion (Zhang et al. 2018)."""
    count = len(next(iter(feeds.values())))
    share = np.where(rng.random(count) < _MIXED, rng.random(count), 1.0)
    other, found = rng.permutation(count), {}
    for name, value in feeds.items():
        part = share.reshape(-1, *[1] * (value.ndim - 1))
        mixed = part * value + (1 - part) * value[other]
        found[name] = np.asarray(np.round(mixed) if value.dtype.kind in "iu" else mixed, dtype=value.dtype)
    return found
