"""Dead leaves have the statistics of photographs."""

from __future__ import annotations

import numpy as np

from spa_cli.calibration.dead_leaves import dead_leaves
from spa_cli.progress import listened


def test_pixels_of_usual_light_smooth_like_photographs_and_hardly_coloured() -> None:
    images = dead_leaves(48, 3, 48, 40, np.random.default_rng(0))
    assert images.shape == (48, 3, 48, 40)
    assert images.dtype == np.uint8
    assert 90 < images.mean() < 150
    assert 45 < images.std() < 85
    neighbours = np.corrcoef(images[..., 1:].ravel(), images[..., :-1].ravel())[0, 1]
    colours = np.corrcoef(images[:, 0].ravel(), images[:, 2].ravel())[0, 1]
    assert 0.85 < neighbours < 0.99
    assert 0.4 < colours < 0.95


def test_large_pictures_have_detail_of_their_own() -> None:
    images = dead_leaves(2, 1, 300, 200, np.random.default_rng(0))
    assert images.shape == (2, 1, 300, 200)
    assert not np.array_equal(images[..., 0:300:3, :], images[..., 1:300:3, :])


def test_channels_are_grey_or_repeat() -> None:
    rng = np.random.default_rng(0)
    assert dead_leaves(1, 1, 9, 9, rng).shape == (1, 1, 9, 9)
    many = dead_leaves(1, 5, 9, 9, rng)[0]
    assert np.array_equal(many[0], many[3])


def test_it_is_told_how_many_are_done_and_they_stay_the_same() -> None:
    told: list[float] = []
    with listened(lambda stage, part: told.append(part)):
        found = dead_leaves(120, 1, 4, 4, np.random.default_rng(5))
    assert told == [at / 50 for at in range(50)]
    assert (found[:1] == dead_leaves(1, 1, 4, 4, np.random.default_rng(5))).all()
