"""Images without any data: dead leaves, the simplest random images with the statistics of natural ones.

Opaque shapes occlude each other (Lee, Mumford, Huang 2001); networks take them for photographs more readily than any
noise (Baradad et al. 2021). The parameters were set by how closely the activations of BatchNorm networks then follow
the statistics those networks recorded in training, never by an accuracy.
"""

from __future__ import annotations

import numpy as np

from spa_cli.graph.model import Array

_LEAVES = 40
# larger images are drawn at this size and enlarged: scenes look alike at every scale
_LARGEST = 128


def dead_leaves(count: int, channels: int, height: int, width: int, rng: np.random.Generator) -> Array:
    """(count, channels, height, width) float32, every channel of mean 0 and deviation 1 over all images."""
    shrink = max(1, -(-max(height, width) // _LARGEST))
    small = (-(-height // shrink), -(-width // shrink))
    images = np.empty((count, channels, height, width), np.float32)
    for image in images:
        scene = _scene(*small, min(channels, 4), rng)
        scene = scene.repeat(shrink, 1).repeat(shrink, 2)[:, :height, :width]
        image[:] = np.resize(scene, (channels, height, width))
    images -= images.mean((0, 2, 3), keepdims=True)
    images /= images.std((0, 2, 3), keepdims=True) + 1e-6
    return images


def _scene(height: int, width: int, colours: int, rng: np.random.Generator) -> Array:
    """One image in [0, 1]: a light and a contrast of its own, shaded ellipses and boxes, texture, soft edges."""
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    largest = max(height, width) / 2
    light, contrast, cast = rng.uniform(0.2, 0.8), rng.uniform(0.1, 0.5), rng.normal(0, 0.08, colours)
    scene = np.tile(rng.uniform(0, 1, (colours, 1, 1)), (1, height, width)).astype(np.float32)
    for _ in range(_LEAVES):
        # density of radii r^-3: as many pixels in small leaves as in large ones
        radius = 1 / np.sqrt(1 / 4 - rng.random() * (1 / 4 - 1 / max(largest, 3) ** 2))
        y, x, angle = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(0, np.pi)
        stretch = np.exp(rng.normal(0, 0.5))
        along = (np.cos(angle) * (xs - x) + np.sin(angle) * (ys - y)) * stretch
        across = (np.cos(angle) * (ys - y) - np.sin(angle) * (xs - x)) / stretch
        box = rng.random() < 0.4
        inside = np.maximum(abs(along), abs(across)) <= radius if box else along**2 + across**2 <= radius**2
        colour = np.clip(light + contrast * rng.normal() + cast + 0.4 * contrast * rng.normal(size=colours), 0, 1)
        slope = rng.normal(size=2)
        shade = (slope[0] * (xs[inside] - x) + slope[1] * (ys[inside] - y)) / max(height, width)
        scene[:, inside] = colour[:, None] + shade
    scene += 0.1 * rng.uniform(0, 2) * _texture(height, width, rng)
    for axis in (1, 2):
        scene = 0.7 * scene + 0.15 * (np.roll(scene, 1, axis) + np.roll(scene, -1, axis))
    return np.clip(scene, 0, 1)


def _texture(height: int, width: int, rng: np.random.Generator) -> Array:
    """A 1/f pattern of unit deviation."""
    frequencies = np.hypot(np.fft.fftfreq(height)[:, None] * height, np.fft.rfftfreq(width)[None] * width)
    spectrum = np.fft.rfft2(rng.standard_normal((height, width))) / np.maximum(frequencies, 1)
    pattern = np.fft.irfft2(spectrum, s=(height, width))
    return np.asarray(pattern / (pattern.std() + 1e-6), np.float32)
