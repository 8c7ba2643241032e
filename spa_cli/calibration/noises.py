"""Random samples of inputs that are no pictures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from spa_cli.graph.model import Array

# so many samples of a shape
Draw = Callable[[int, tuple[int, ...], np.random.Generator], Array]


def noise(count: int, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Standard normal, every other sample uniform between 0 and 1: nothing tells which."""
    values = rng.standard_normal((count, *shape))
    values[1::2] = rng.uniform(0, 1, values[1::2].shape)
    return values


def signals(count: int, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Noise with a 1/f spectrum along the last axis, of unit deviation; every other sample uniform noise instead."""
    values = _one_over_f(count, shape, rng)
    values[1::2] = rng.uniform(0, 1, values[1::2].shape)
    return values


def sounds(count: int, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """1/f noise that swells and fades, from soft to loud, within -1 and 1."""
    swell = np.exp(0.7 * _one_over_f(count, (*shape[:-1], -(-shape[-1] // 64)), rng)).repeat(64, -1)[..., : shape[-1]]
    loudness = 10 ** rng.uniform(-2.5, -0.5, (count, *[1] * len(shape)))
    return np.clip(loudness * swell * _one_over_f(count, shape, rng), -1, 1)


def frames(count: int, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Noise with a 1/f spectrum along both axes, standardised over each sample."""
    spectrum = np.fft.rfft2(rng.standard_normal((count, *shape)))
    rows, columns = np.fft.fftfreq(shape[0])[:, None] * shape[0], np.fft.rfftfreq(shape[1])[None] * shape[1]
    values = np.fft.irfft2(spectrum / np.maximum(np.hypot(rows, columns), 1), s=shape)
    return np.asarray(values / (values.std((1, 2), keepdims=True) + 1e-9))


def _one_over_f(count: int, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    spectrum = np.fft.rfft(rng.standard_normal((count, *shape)), axis=-1)
    frequencies = np.maximum(np.arange(spectrum.shape[-1]), 1)
    signal = np.fft.irfft(spectrum / np.sqrt(frequencies), n=shape[-1], axis=-1)
    return np.asarray(signal / (signal.std(-1, keepdims=True) + 1e-9))
