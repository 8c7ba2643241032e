"""The data that every training script shares: one split of the digits, and its augmentation.

All sample models train on the same 1200 images and are measured on the same 597.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

Array = np.ndarray[Any, Any]

SEED = 0
TRAIN_IMAGES = 1200
SIDE = 8


@dataclass(frozen=True)
class Split:
    """Images of shape (n, 8, 8), float32 in [0, 1], with int64 labels."""

    train_x: Array
    train_y: Array
    test_x: Array
    test_y: Array


def load_split() -> Split:
    """The one stratified split that all sample models share."""
    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)
    labels = digits.target.astype(np.int64)
    train_x, test_x, train_y, test_y = train_test_split(
        images, labels, train_size=TRAIN_IMAGES, stratify=labels, random_state=SEED
    )
    return Split(train_x, train_y, test_x, test_y)


def augment(images: Array, rng: np.random.Generator) -> Array:
    """Rotate, scale and shift each image a little (bilinear), then add noise."""
    count = len(images)
    angle, scale = rng.uniform(-0.2, 0.2, (count, 1, 1)), rng.uniform(0.9, 1.1, (count, 1, 1))
    shift = rng.uniform(-1, 1, (2, count, 1, 1))
    centre = (SIDE - 1) / 2
    grid_row, grid_col = np.indices((SIDE, SIDE)) - centre
    row = (np.cos(angle) * grid_row - np.sin(angle) * grid_col) * scale + shift[0] + centre
    col = (np.sin(angle) * grid_row + np.cos(angle) * grid_col) * scale + shift[1] + centre

    pad = 3  # no corner, rotated, scaled and shifted, comes to lie farther outside the image
    padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad)))
    row, col = row + pad, col + pad
    row0, col0 = np.floor(row).astype(int), np.floor(col).astype(int)
    down, right = row - row0, col - col0
    index = np.arange(count)[:, None, None]
    moved = (
        padded[index, row0, col0] * (1 - down) * (1 - right)
        + padded[index, row0, col0 + 1] * (1 - down) * right
        + padded[index, row0 + 1, col0] * down * (1 - right)
        + padded[index, row0 + 1, col0 + 1] * down * right
    )
    noisy = moved + rng.normal(0, 0.03, moved.shape)
    return np.clip(noisy, 0, 1).astype(np.float32)


def epoch_batches(images: Array, labels: Array, size: int, rng: np.random.Generator) -> Iterator[tuple[Array, Array]]:
    """One epoch of shuffled, augmented batches, all of the same size."""
    order = rng.permutation(len(images))
    for start in range(0, len(order) - size + 1, size):
        batch = order[start : start + size]
        yield augment(images[batch], rng), labels[batch]
