"""What a choice may add up of what removals lose."""

from __future__ import annotations

import numpy as np

from spa_cli.channels.ranking import Ranking, losses


def test_losses_are_those_of_the_rankings() -> None:
    found = [Ranking.of(np.array([3.0, 0.0, 1.0])), Ranking.of(np.array([[2.0, -1e-12], [4.0, 5.0]]))]
    for own, ranking in zip(losses(found), found, strict=True):
        np.testing.assert_array_equal(own, ranking.loss)


def test_losses_below_zero_are_places_among_all() -> None:
    found = losses([Ranking.of(np.array([-5.0, 3, -1, 2, 0])), Ranking.of(np.array([4.0, -2, -3, 1, 5, 3]))])
    # two are equal
    np.testing.assert_allclose(found[0] * 10, [1, 4, 5, 7, 8])
    np.testing.assert_allclose(found[1] * 10, [2, 3, 6, 8, 9, 10])
    assert losses([]) == []
