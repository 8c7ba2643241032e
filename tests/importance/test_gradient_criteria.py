"""Criteria from derivatives, against their formulas with derivatives of a small network by hand."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import spa_cli
from spa_cli.calibration.focus import Focus
from spa_cli.calibration.split import held_back_index
from spa_cli.importance.criteria import CRITERIA, GRADIENTS
from spa_cli.options import Options
from tests.builders import analysed, build, random, rankings
from tests.derivatives.small import cross_entropy, slopes
from tests.derivatives.test_hessian import wanted_of

NAMES = sorted(n for n, c in CRITERIA.items() if c.needs == GRADIENTS)
W1, W2 = random((5, 8), "g1"), random((8, 3), "g2")
NET = build("(float[N,5] x) => (y) { a = MatMul(x, w1) h = Relu(a) y = MatMul(h, w2) }", w1=W1, w2=W2)
X = np.random.default_rng(0).standard_normal((32, 5)).astype(np.float32)
LABELS = np.random.default_rng(1).integers(0, 3, 32)


def _elements(name) -> list:
    """Scores of every element of (w1, w2)."""
    # the rest is held back to be judged on
    fitted = np.delete(np.arange(32), held_back_index(32, Options(), Focus()))
    inside = X[fitted].astype(np.float64) @ W1 > 0

    def each(at):
        return cross_entropy((X[fitted] @ at["w1"] * inside) @ at["w2"], LABELS[fitted])

    weights = {"w1": W1.astype(np.float64), "w2": W2.astype(np.float64)}
    own = slopes(each, weights)
    gradient = {n: g.mean(0) for n, g in own.items()}
    if name in ("grasp", "crop"):
        bent = wanted_of(lambda at: each(at).mean(), weights)
        found = [bent[n] * w for n, w in weights.items()]
        return [np.abs(f) for f in found] if name == "crop" else found
    if name == "fisher":
        return [np.square(own[n]).mean(0) * w**2 / 2 for n, w in weights.items()]
    found = [gradient[n] * w for n, w in weights.items()]
    return [np.abs(f) for f in found] if name == "snip" else found


@pytest.mark.parametrize("name", NAMES)
def test_against_its_formula(name, tmp_path) -> None:
    of_w1, of_w2 = _elements(name)
    made, read = of_w1.sum(0), of_w2.sum(1)
    expected = made**2 + read**2 if name == "taylor" else made + read
    np.savez(tmp_path / "calib.npz", x=X, labels=LABELS)
    (found,) = rankings(analysed(NET), name, calib=tmp_path / "calib.npz", aggregation="sum")
    np.testing.assert_allclose(found.scores, expected, rtol=1e-3, atol=1e-5 * abs(expected).max())


@pytest.mark.parametrize("name", NAMES)
def test_without_labels_the_model_draws_its_own(name) -> None:
    (first,), (again,) = (rankings(analysed(NET), name, calib_samples=32) for _ in range(2))
    np.testing.assert_array_equal(first.scores, again.scores)
    assert np.ptp(first.scores) > 0


def test_a_group_without_gradients_is_left_whole_and_says_which_operator_has_none() -> None:
    text = """(float[N,5] x) => (float[N,3] y) {
      a = MatMul(x, w1)  h = Relu(a)  b = MatMul(h, w2)  m = Hardmax(b)
      c = MatMul(m, w3)  r = Relu(c)  y = MatMul(r, w4)
    }"""
    model = build(text, w1=(5, 8), w2=(8, 6), w3=(6, 7), w4=(7, 3))
    result = spa_cli.prune(model, ratio=0.3, method="snip", calib_samples=32, repair=False)
    told = next(text for text in result.warnings if "left whole" in text)
    assert "none of its weights has a score by method snip: operator Hardmax (node 'Hardmax_m')" in told


def test_gradients_need_no_other_package() -> None:
    code = "import sys; sys.modules['torch'] = None; import spa_cli.importance.gradient"
    subprocess.run([sys.executable, "-c", code], check=True)
