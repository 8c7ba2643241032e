"""Samples made of samples keep their shape, type and range; what is no image is not taken for one."""

from __future__ import annotations

import numpy as np
import pytest

from spa_cli.tuning.augment import CROP, FLIP, MIX, WAYS, augmented, ways_for

RNG = np.random.default_rng(0)
NCHW = RNG.normal(size=(16, 3, 8, 10)).astype(np.float32)
NHWC = RNG.integers(0, 256, (16, 8, 10, 3)).astype(np.uint8)


@pytest.mark.parametrize("images", [NCHW, NHWC])
@pytest.mark.parametrize("way", WAYS)
def test_images_change_within_their_range(images, way) -> None:
    assert ways_for({"x": images}) == WAYS
    found = augmented({"x": images}, (way,), np.random.default_rng(1))["x"]
    assert found.shape == images.shape and found.dtype == images.dtype
    assert (found != images).any()
    assert images.min() <= found.min() and found.max() <= images.max()


def test_a_flip_turns_width_only() -> None:
    for images, axis in ((NCHW, 3), (NHWC, 2)):
        found = augmented({"x": images}, (FLIP,), np.random.default_rng(1))["x"]
        turned = [bool((f == np.flip(i, axis - 1)).all()) for f, i in zip(found, images, strict=True)]
        same = [bool((f == i).all()) for f, i in zip(found, images, strict=True)]
        assert all(t != s for t, s in zip(turned, same, strict=True))
        assert 0 < sum(turned) < 16


def test_a_crop_moves_all_colours_of_an_image_alike() -> None:
    images = np.repeat(NCHW[:, :1], 3, axis=1)
    found = augmented({"x": images}, (CROP,), np.random.default_rng(1))["x"]
    np.testing.assert_array_equal(found[:, 0], found[:, 1])
    np.testing.assert_array_equal(found[:, 0], found[:, 2])


def test_a_mix_is_a_mean_of_two() -> None:
    vectors = np.eye(12, dtype=np.float32)
    assert ways_for({"x": vectors}) == (MIX,)
    found = augmented({"x": vectors}, (MIX,), np.random.default_rng(1))["x"]
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)
    assert set((found > 0).sum(1)) == {1, 2}


@pytest.mark.parametrize(
    "feeds",
    [
        {"ids": np.zeros((4, 7), np.int64)},
        {"x": np.zeros((4, 3, 8, 8), np.float32), "more": np.zeros((4, 2), np.float32)},
        {"x": np.zeros(4, np.float32)},
    ],
)
def test_tokens_and_inputs_that_belong_together_are_left(feeds) -> None:
    assert ways_for(feeds) == ()
    found = augmented(feeds, (), np.random.default_rng(0))
    for name, value in feeds.items():
        np.testing.assert_array_equal(found[name], value)
