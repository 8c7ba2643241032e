"""Ranking a group with all that read it: what readers have in common is worked out once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spa_cli.obspa import rank
from spa_cli.obspa.consumers import Reader, together
from spa_cli.obspa.saliency import Consumer, greedy, inverse
from spa_cli.obspa.shrinkage import shrunk


def heads(inputs: int = 12) -> list[Reader]:
    """Two heads of one layer, which reads a half of its inputs from each."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((80, inputs)) @ rng.standard_normal((inputs, inputs))
    places = np.arange(inputs).reshape(2, -1, 1)
    one = Reader("n", rng.standard_normal((5, inputs)), x.T @ x / 80, x.mean(0), 80, places[0], 1.0, h_of=("n", 0))
    return [one, replace(one, places=places[1])]


def test_heads_of_one_layer_have_one_inverse(monkeypatch) -> None:
    asked: list[np.ndarray] = []

    def counted(h: np.ndarray) -> np.ndarray:
        asked.append(h)
        return inverse(h)

    monkeypatch.setattr(rank, "inverse", counted)
    found = rank._ranked(6, True, [[one] for one in heads()])
    assert found is not None and len(asked) == 1
    alone = [greedy([Consumer(r.w, inverse(shrunk(r.h, r.rows)), r.places, 1.0)], 6)[0] for r in heads()]
    assert np.array_equal(found[0].order, alone)


def test_what_several_read_together_is_taken_for_none_of_theirs() -> None:
    first, other = (replace(r, part=("w", 0), places=heads()[0].places) for r in heads())
    other = replace(other, h=2 * other.h)
    (both,) = together([first, other])
    assert np.allclose(both.h, 1.5 * first.h)
    assert both.h_of not in {first.h_of, other.h_of}
