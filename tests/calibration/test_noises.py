"""Noise that isn't pictures."""

from __future__ import annotations

import numpy as np

from spa_cli.calibration.noises import frames, noise, signals, sounds

RNG = np.random.default_rng(0)


def test_noise_is_normal_and_uniform_in_turn() -> None:
    values = noise(8, (400,), RNG)
    assert values[::2].min() < -1
    assert 0 <= values[1::2].min() < values[1::2].max() <= 1


def test_signals_have_more_in_low_frequencies() -> None:
    power = abs(np.fft.rfft(signals(16, (512,), RNG)[::2])).mean(0)
    assert power[1:20].mean() > 3 * power[-20:].mean()


def test_sounds_are_loud_and_soft_within_one() -> None:
    values = sounds(16, (4096,), RNG)
    loudness = values.std(1)
    assert abs(values).max() <= 1
    assert loudness.max() > 5 * loudness.min()


def test_frames_are_smooth_along_both_axes() -> None:
    values = frames(4, (40, 24), RNG)
    for axis in (1, 2):
        first, second = np.delete(values, -1, axis), np.delete(values, 0, axis)
        assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.5
