"""Losses are what their formulas say, nothing where both networks give the same, in every operator set."""

from __future__ import annotations

import numpy as np
import pytest

from spa_cli.graph.shapes import interpret
from spa_cli.graph.view import build as view
from spa_cli.measures.classes import LOGARITHMS, LOGITS, PROBABILITIES
from spa_cli.runtime.session import open_session
from spa_cli.tuning.losses import with_losses
from spa_cli.tuning.terms import CHANCES, VALUES, Term
from tests.builders import build

SHAPE = (3, 5, 4)


def _softmax(x, axis=-1) -> np.ndarray:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def _loss(term, ours, theirs, spread=None, opset=18) -> float:
    shape = ",".join(map(str, ours.shape))
    model = build(f"(float[{shape}] x) => (y) {{ y = Identity(x) }}", opset=opset)
    graph = view(model, "")
    losses = with_losses(graph, interpret(graph, {"x": ours.shape}), [term], spread or {})
    feeds = {"x": ours.astype(np.float32), losses.given["y"]: theirs.astype(np.float32)}
    return float(open_session(losses.model).run([losses.names[0]], feeds)[0])


def _pair(seed=0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=SHAPE), rng.normal(size=SHAPE)


@pytest.mark.parametrize("opset", [9, 12, 18])
@pytest.mark.parametrize("axis", [-1, -2])
def test_classes(axis, opset) -> None:
    """The divergence of Kullback and Leibler, over whatever says the classes."""
    ours, theirs = _pair()
    p, q = _softmax(theirs, axis), _softmax(ours, axis)
    expected = (p * (np.log(p) - np.log(q))).sum(axis).mean()
    assert _loss(Term("y", LOGITS, axis), ours, theirs, opset=opset) == pytest.approx(expected, rel=1e-4)
    assert _loss(Term("y", PROBABILITIES, axis), q, p, opset=opset) == pytest.approx(expected, rel=1e-3)
    assert _loss(Term("y", LOGARITHMS, axis), np.log(q), np.log(p), opset=opset) == pytest.approx(expected, rel=1e-4)


def test_numbers_count_by_how_much_their_channel_varies() -> None:
    ours, theirs = _pair()
    spread = np.array([0.5, 1.0, 2.0, 100.0])
    expected = (np.square(ours - theirs) / spread)[..., 1:3].sum(-1).mean()
    found = _loss(Term("y", VALUES, -1, 1, 3), ours, theirs, {"y": spread})
    assert found == pytest.approx(expected, rel=1e-4)


def test_chances_and_what_they_say_of_the_rest() -> None:
    rng = np.random.default_rng(0)
    q, p = rng.uniform(0.05, 0.95, SHAPE), rng.uniform(0.05, 0.95, SHAPE)
    each = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    found = _loss(Term("y", CHANCES, -1, 0, 2), q, p)
    assert found == pytest.approx(each[..., :2].sum(-1).mean(), rel=1e-3)
    # where nothing is likely, errors hardly count
    p[:2, :, 2:], p[2:, :, 2:] = 1e-3, 1.0
    off = _loss(Term("y", VALUES, -1, 0, 2, likely=((2, 4),)), q, p, {"y": np.ones(4)})
    square = np.square(q - p)[..., :2].sum(-1)
    assert off == pytest.approx((square[2:].sum() * 1.05 + square[:2].sum() * 0.051) / 15, rel=1e-2)


@pytest.mark.parametrize(("form", "values"), [(LOGITS, 0), (PROBABILITIES, 1), (VALUES, 0), (CHANCES, 1)])
def test_the_same_network_loses_nothing(form, values) -> None:
    same = _softmax(_pair()[0]) if values else _pair()[0]
    assert _loss(Term("y", form), same, same, {"y": np.ones(4)}) == pytest.approx(0, abs=1e-6)
