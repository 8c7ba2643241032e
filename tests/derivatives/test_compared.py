"""Losses in closed form against finite differences."""

import numpy as np
import pytest

from spa_cli.derivatives import compared
from tests.derivatives.small import cross_entropy, slopes

RNG = np.random.default_rng(0)
Y, OTHER = RNG.standard_normal((3, 4)), RNG.standard_normal((3, 4))
YES = (RNG.random((3, 4)) < 0.5).astype(np.float64)
SCORES, LABELS = RNG.standard_normal((3, 2, 5)), RNG.integers(0, 5, (3, 2))
ASKED = np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
SOFT = np.exp(compared.log_softmax(RNG.standard_normal((3, 2, 5))))

CASES = {
    "norm": (compared.norm, Y, lambda y: np.square(y).mean(1) / 2),
    "squares": (lambda y: compared.squares(y, OTHER), Y, lambda y: np.square(y - OTHER).mean(1)),
    "binary": (
        lambda y: compared.binary(y, YES),
        Y,
        lambda y: -(YES * np.log(1 / (1 + np.exp(-y))) + (1 - YES) * np.log(1 / (1 + np.exp(y)))).mean(1),
    ),
    "binary_probabilities": (
        lambda y: compared.binary_probabilities(y, YES),
        compared.sigmoid(Y),
        lambda y: -(YES * np.log(y) + (1 - YES) * np.log(1 - y)).mean(1),
    ),
    "classes": (
        lambda y: compared.classes(y, LABELS, ASKED),
        SCORES,
        lambda y: [
            cross_entropy(y[0], LABELS[0]).mean(),
            cross_entropy(y[1, :1], LABELS[1, :1])[0],
            0,
        ],
    ),
    "class_probabilities": (
        lambda y: compared.class_probabilities(y, LABELS, ASKED),
        np.exp(compared.log_softmax(SCORES)),
        lambda y: [
            -np.log(y[0, [0, 1], LABELS[0]]).mean(),
            -np.log(y[1, 0, LABELS[1, 0]]),
            0,
        ],
    ),
    "divergence": (
        lambda y: compared.divergence(y, SOFT),
        SCORES,
        lambda y: (SOFT * (np.log(SOFT) - compared.log_softmax(y))).sum(-1).mean(1),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_losses_slopes_and_bends(name) -> None:
    loss, y, formula = CASES[name]
    found = loss(y)
    np.testing.assert_allclose(found.losses, formula(y), rtol=1e-12, atol=1e-14)
    every = slopes(lambda a: loss(a["y"]).losses, {"y": y})["y"]
    for at in range(len(y)):
        np.testing.assert_allclose(found.slopes[at], every[at, at], rtol=1e-6, atol=1e-8)
        assert not every[at, (at + 1) % len(y)].any()
    along = RNG.standard_normal(y.shape)
    step = 1e-6
    moved = (loss(y + step * along).slopes - loss(y - step * along).slopes) / (2 * step)
    np.testing.assert_allclose(found.bend(along), moved, rtol=1e-5, atol=1e-7)


def test_probabilities_at_the_ends_have_no_slope_and_no_infinity() -> None:
    certain = np.array([[0.0, 1.0]])
    found = compared.binary_probabilities(certain, np.array([[0.0, 1.0]]))
    assert found.losses[0] < 1e-6 and not found.slopes.any()
    missed = compared.class_probabilities(certain[:, None], np.zeros((1, 1), np.int64), np.ones((1, 1)))
    assert missed.losses[0] == pytest.approx(-np.log(1e-12)) and not missed.slopes.any()


def test_large_scores_do_not_overflow() -> None:
    y = np.array([[1000.0, -1000.0]])
    assert compared.binary(y, np.array([[0.0, 1.0]])).losses[0] == 1000
    assert np.array_equal(compared.sigmoid(y), [[1, 0]])
    assert compared.classes(y[:, None], np.ones((1, 1), np.int64), np.ones((1, 1))).losses[0] == 2000
