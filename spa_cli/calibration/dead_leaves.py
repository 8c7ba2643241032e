"""Pictures without any data: dead leaves, the simplest random pictures with the statistics of photographs.

Opaque shapes occlude each other (Lee, Mumford, Huang 2001); networks take them for photographs more readily than any
noise (Baradad et al. 2021). The parameters were set by how closely the covariances inside trained networks then follow
those on photographs, never by an accuracy.
"""

from __future__ import annotations

import math

import numpy as np

from spa_cli.graph.model import Array
from spa_cli.progress import tracked

# leaves in a picture of 32 pixels; larger ones have more, by this power of their size
_LEAVES, _GROWTH = 40, 0.55
# density of radii r^-(1 + _DECAY), from a share of the picture's size to another
_DECAY, _SMALLEST, _LARGEST = 0.6, 0.006, 0.45
# colours of one picture, and how much of their contrast is of hue: photographs vary in light first
_PALETTE, _CHROMA = 5, 0.7
_BLUE_YELLOW, _RED_GREEN = np.array([0.7, 0.1, -0.9]), np.array([0.35, -0.35, 0.1])
# patterns to choose from, by their falling spectrum: from rough to cloudy
_PATTERNS, _ROUGHEST, _CLOUDIEST = 24, 0.6, 1.6
_BOX, _BLOB, _STRIPED, _BLURRED = 0.2, 0.35, 0.15, 0.3
# how often it is told how many are done
_TOLD = 50


def dead_leaves(count: int, channels: int, height: int, width: int, rng: np.random.Generator) -> Array:
    """(count, channels, height, width) pixels from 0 to 255; one channel is grey, more than three repeat."""
    size = max(height, width)
    patterns = [_pattern(size, rng.uniform(_ROUGHEST, _CLOUDIEST), rng) for _ in range(_PATTERNS)]
    pictures = np.empty((count, channels, height, width), np.uint8)
    # large ones take minutes
    for some in tracked(np.array_split(pictures, max(1, min(count, _TOLD)))):
        for picture in some:
            scene = _Scene(height, width, patterns, rng).pixels
            picture[:] = np.resize(scene.mean(0, keepdims=True) if channels == 1 else scene, picture.shape)
    return pictures


class _Scene:
    """One picture: a light, a contrast and a palette of its own, shaded and textured leaves with soft edges."""

    def __init__(self, height: int, width: int, patterns: list[Array], rng: np.random.Generator) -> None:
        self._size, self._patterns, self._rng = max(height, width), patterns, rng
        self._ys, self._xs = np.mgrid[0:height, 0:width].astype(np.float32)
        light, self._contrast = rng.uniform(0.25, 0.7), rng.uniform(0.12, 0.32)
        cast = _CHROMA / 4 * (rng.normal() * _BLUE_YELLOW + rng.normal() * _RED_GREEN)
        self._palette = light + self._contrast * (self._colours(_PALETTE) + cast)
        self._rough = 0.4 * self._contrast * rng.gamma(1.5, 1 / 1.5)
        steep = 0.3 * self._contrast / self._size
        ground = (self._ys - height / 2) * (steep * rng.normal()) + (self._xs - width / 2) * (steep * rng.normal())
        ground += self._rough * rng.gamma(1) * self._texture(height, width)
        self._canvas = (self._palette[0][:, None, None] + ground).astype(np.float32)
        for _ in range(int(_LEAVES * (self._size / 32) ** _GROWTH * math.exp(0.6 * rng.normal()))):
            self._leaf(height, width)

    @property
    def pixels(self) -> Array:
        """(3, height, width), from 0 to 255."""
        scene = self._canvas + 0.01 * self._rng.standard_normal(self._canvas.shape, np.float32)
        if self._rng.random() < _BLURRED:
            for axis in (1, 2):
                scene = 0.5 * scene + 0.25 * (np.roll(scene, 1, axis) + np.roll(scene, -1, axis))
        return np.asarray(255 * np.clip(scene, 0, 1))

    def _colours(self, count: int) -> Array:
        light, blue, red = self._rng.normal(size=(3, count, 1))
        return np.asarray(light + _CHROMA * (blue * _BLUE_YELLOW + red * _RED_GREEN))

    def _texture(self, height: int, width: int) -> Array:
        """A part of a pattern, mirrored or not."""
        rng, pattern = self._rng, self._patterns[self._rng.integers(len(self._patterns))]
        y, x = rng.integers(self._size - height + 1), rng.integers(self._size - width + 1)
        return pattern[y : y + height, x : x + width][:: rng.choice((-1, 1)), :: rng.choice((-1, 1))]

    def _leaf(self, height: int, width: int) -> None:
        rng, contrast = self._rng, self._contrast
        low, high, share = max(_SMALLEST * self._size, 1.0), _LARGEST * self._size, rng.random()
        radius = (low**-_DECAY * (1 - share) + high**-_DECAY * share) ** (-1 / _DECAY) if high > low else low
        y, x, angle = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(0, math.pi)
        stretch, cosine, sine = math.exp(0.45 * rng.normal()), math.cos(angle), math.sin(angle)
        reach = 1.5 * radius * max(stretch, 1 / stretch) + 2
        rows = slice(max(0, int(y - reach)), min(height, int(y + reach) + 1))
        columns = slice(max(0, int(x - reach)), min(width, int(x + reach) + 1))
        dy, dx = self._ys[rows, columns] - y, self._xs[rows, columns] - x
        along = (cosine * dx + sine * dy) * stretch
        across = (cosine * dy - sine * dx) / stretch
        colour = self._palette[rng.integers(_PALETTE)] + 0.25 * contrast * self._colours(1)[0]
        steep = 0.3 * contrast / max(radius, 2)
        shade = dy * (steep * rng.normal()) + dx * (steep * rng.normal())
        if radius > 3:
            rough = self._rough * rng.gamma(1)
            if rng.random() < _STRIPED:
                way = along if rng.random() < 0.5 else across
                shade += 1.5 * rough * np.sin(rng.uniform(0.6, 6) / math.sqrt(radius) * way)
            else:
                shade += rough * self._texture(*dy.shape)
        cover = np.clip((radius - self._outline(along, across, radius)) / rng.uniform(0.5, 2) + 0.5, 0, 1)
        for seen, own in zip(self._canvas[:, rows, columns], colour.tolist(), strict=True):
            seen += cover * (shade + own - seen)

    def _outline(self, along: Array, across: Array, radius: float) -> Array:
        """How far from the middle, as the shape measures it: a box, an ellipse or a dented one."""
        rng, shape = self._rng, self._rng.random()
        if shape < _BOX:
            return np.asarray(np.maximum(abs(along), abs(across)))
        far = np.hypot(along, across)
        if shape < _BOX + _BLOB and radius > 4:
            angle = np.arctan2(across, along)
            waves = ((2, 0.25), (3, 0.2), (5, 0.1))
            far = far * (1 + sum(d * rng.normal() * np.cos(n * angle + rng.uniform(0, 2 * np.pi)) for n, d in waves))
        return np.asarray(far)


def _pattern(size: int, power: float, rng: np.random.Generator) -> Array:
    """(size, size) of unit deviation with an amplitude of 1/f^power."""
    frequencies = np.hypot(np.fft.fftfreq(size)[:, None] * size, np.fft.rfftfreq(size)[None] * size)
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) / np.maximum(frequencies, 1) ** power
    pattern = np.fft.irfft2(spectrum, s=(size, size))
    return np.asarray(pattern / (pattern.std() + 1e-6), np.float32)
