"""Labels of every shape against outputs of every layout."""

from __future__ import annotations

import numpy as np
import pytest

from spa_cli.verification.accuracy import hits

RNG = np.random.default_rng(0)
SCORES = RNG.standard_normal((6, 4)).astype(np.float32)
BEST = SCORES.argmax(1)
PIXELS = RNG.standard_normal((2, 3, 5, 5)).astype(np.float32)


@pytest.mark.parametrize(
    "output, labels",
    [
        (SCORES, BEST),
        (SCORES, BEST.astype(np.float32)),
        (SCORES, np.eye(4, dtype=np.int64)[BEST]),
        (SCORES.reshape(2, 3, 4), BEST.reshape(2, 3)),
        (PIXELS, PIXELS.argmax(1)),
        (BEST, BEST),
        (SCORES[:, :1], (SCORES[:, 0] > 0).astype(np.int64)),
        (1 / (1 + np.exp(-SCORES[:, 0])), (SCORES[:, 0] > 0).astype(np.int64)),
    ],
)
def test_what_fits_is_met(output, labels) -> None:
    found = hits(output, labels)
    assert found is not None and found.all()
    assert found.size == (labels.size if labels.shape != SCORES.shape else len(labels))


def test_a_miss_is_a_miss_and_ignored_labels_do_not_count() -> None:
    labels = BEST.copy()
    labels[0] = (labels[0] + 1) % 4
    labels[1] = -100
    found = hits(SCORES, labels)
    assert found.tolist() == [False, True, True, True, True]


@pytest.mark.parametrize(
    "output, labels",
    [
        (SCORES, BEST[:5]),
        (SCORES, np.full(6, 4)),
        (SCORES, BEST + 0.5),
        (SCORES, RNG.standard_normal((6, 4))),
        (SCORES[:, :1], BEST + 2),
        (["a"], BEST),
        (np.array(["a"] * 6), BEST),
    ],
)
def test_what_does_not_fit_is_none(output, labels) -> None:
    assert hits(output, labels) is None
