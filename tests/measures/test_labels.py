"""Integers, names, yes and no, vectors."""

from __future__ import annotations

import numpy as np
import pytest

from spa_cli.measures.embeddings import Embeddings
from spa_cli.measures.labels import Labels
from spa_cli.measures.masks import Masks


def test_labels_are_the_same_or_not() -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(0, 5, 100)
    b = np.where(np.arange(100) < 90, a, (a + 1) % 5)
    measure = Labels()
    for part in (slice(0, 30), slice(30, 100)):
        measure.add([a[part]], [b[part]], len(a[part]))
    found = measure.found
    assert (found.agreement.value, found.ruined) == (pytest.approx(0.9), False)
    assert found.text == "the same on 90.0% [82.4, 94.5]"
    other = Labels()
    other.add([a], [rng.integers(0, 5, 100)], 100)
    assert other.found.ruined


def test_names_and_shapes_that_differ() -> None:
    names = Labels()
    names.add([np.array(["a", "b"], object)], [np.array(["a", "c"], object)], 2)
    assert names.found.agreement.value == 0.5
    sizes = Labels()
    sizes.add([np.arange(3)], [np.arange(4)], 1)
    assert sizes.found.agreement is None


def test_masks_overlap() -> None:
    mask = np.zeros((8, 1, 10, 10), np.float32)
    mask[:, :, 2:6, 2:6] = 0.9
    moved = np.roll(mask, 3, -1)
    measure = Masks()
    measure.add([mask], [moved], 8)
    assert measure.found.agreement.value == pytest.approx(4 / 28)
    # most of the picture is background, on which everybody agrees
    assert measure.found.figures["agreement"].value == pytest.approx(0.76)
    assert measure.found.ruined
    empty = Masks()
    empty.add([0 * mask], [0 * mask], 8)
    assert (empty.found.agreement, empty.found.ruined) == (None, False)
    gone = Masks()
    gone.add([mask], [0 * mask], 8)
    assert (gone.found.agreement.value, gone.found.ruined) == (0, True)


def test_embeddings_that_all_point_the_same_way() -> None:
    """Any two samples have a cosine near 0.9: one that forgets which sample it saw has so, too."""
    rng = np.random.default_rng(0)
    common, own = 3 * np.ones(32), rng.normal(size=(60, 32))
    a = common + own
    near, lost = Embeddings(), Embeddings()
    near.add([a], [common + own + 0.1 * rng.normal(size=(60, 32))], 60)
    lost.add([a], [common + rng.normal(size=(60, 32))], 60)
    assert lost.found.figures["cosine"].value > 0.85
    assert lost.found.agreement.value < 0.2 and lost.found.ruined
    assert near.found.agreement.value > 0.95 and not near.found.ruined


def test_embeddings_of_one_sample_and_what_is_no_number() -> None:
    a = np.random.default_rng(0).normal(size=(1, 16))
    one = Embeddings()
    one.add([a], [2 * a], 1)
    assert one.found.agreement.value == pytest.approx(1)
    spoilt = Embeddings()
    many = np.random.default_rng(0).normal(size=(20, 16))
    spoilt.add([many], [np.full_like(many, np.nan)], 20)
    assert spoilt.found.ruined
