"""Every criterion against an independent computation on a small network, loop by loop."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from spa_cli.errors import UsageError
from spa_cli.importance.criteria import CRITERIA, GRADIENTS
from tests.builders import analysed, build, positive, random, rankings

C = 6
WEIGHTS = {
    "w1": random((C, 3, 3, 3), "w1"),
    "scale": positive(C) - 0.9,
    "shift": random((C,), "shift"),
    "mean": random((C,), "mean"),
    "var": positive(C),
    "w2": random((5, C, 3, 3), "w2"),
    "wd": random((5, 4), "wd"),
}
NET = build(
    """(float[N,3,7,7] x) => (y) {
      a = Conv<pads=[1,1,1,1]>(x, w1)
      b = BatchNormalization(a, scale, shift, mean, var)
      h = Relu(b)
      c = Conv(h, w2)
      p = GlobalAveragePool(c)
      f = Flatten(p)
      y = MatMul(f, wd)
    }""",
    **WEIGHTS,
)
SAMPLES = np.random.default_rng(0).standard_normal((24, 3, 7, 7)).astype(np.float32)
# three of them are held back to judge on
FITTED = np.delete(SAMPLES, [4, 12, 20], axis=0)
W1, W2 = (WEIGHTS[n].astype(np.float64) for n in ("w1", "w2"))


@pytest.fixture(scope="module")
def calib(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("calib") / "calib.npz"
    np.savez(path, x=SAMPLES)
    return path


def scores(method, calib=None, **options) -> np.ndarray:
    """Scores of the six channels between the convolutions."""
    found = analysed(NET)
    index = next(i for i, g in enumerate(found.grouping.groups) if g.name == "w1")
    return rankings(found, method, calib=calib, **options)[index].scores


def hidden() -> np.ndarray:
    """What the second convolution reads, (n, C, 7, 7)."""
    model = build(
        """(float[N,3,7,7] x) => (h) {
          a = Conv<pads=[1,1,1,1]>(x, w1)
          b = BatchNormalization(a, scale, shift, mean, var)
          h = Relu(b)
        }""",
        **{n: WEIGHTS[n] for n in ("w1", "scale", "shift", "mean", "var")},
    )
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": FITTED})[0].astype(np.float64)


def taps(h) -> np.ndarray:
    """What each weight of the second convolution is multiplied with, (C, 3, 3, values)."""
    result = np.empty((C, 3, 3, len(h) * 25))
    for c, i, j in itertools.product(range(C), range(3), range(3)):
        result[c, i, j] = h[:, c, i : i + 5, j : j + 5].ravel()
    return result


def sums(first, second) -> np.ndarray:
    """Per channel, the sum over its filter and over what reads it."""
    return np.array([first[c].sum() + second[:, c].sum() for c in range(C)])


def test_l1() -> None:
    np.testing.assert_allclose(scores("l1", aggregation="sum"), sums(abs(W1), abs(W2)))


def test_l2() -> None:
    expected = [np.linalg.norm(W1[c]) + np.linalg.norm(W2[:, c]) for c in range(C)]
    np.testing.assert_allclose(scores("l2", aggregation="sum"), expected)


def test_random_is_drawn_from_the_seed() -> None:
    first, again, other = (scores("random", seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert ((first >= 0) & (first < 1)).all()


def test_lamp() -> None:
    def lamp(w):
        square = w**2
        return np.array([v / square[square >= v].sum() for v in square.ravel()]).reshape(w.shape)

    np.testing.assert_allclose(scores("lamp", aggregation="sum"), sums(lamp(W1), lamp(W2)))


def test_fpgm() -> None:
    def distance(vectors):
        return np.array([sum(np.linalg.norm(a - b) for b in vectors) for a in vectors])

    expected = distance([W1[c].ravel() for c in range(C)]) + distance([W2[:, c].ravel() for c in range(C)])
    np.testing.assert_allclose(scores("fpgm", aggregation="sum"), expected)


def test_bn_is_the_scale_alone() -> None:
    np.testing.assert_allclose(scores("bn"), abs(WEIGHTS["scale"]), rtol=1e-6)


def test_wanda(calib) -> None:
    norm = np.sqrt((taps(hidden()) ** 2).mean(-1))
    expected = (abs(W2) * norm).sum((0, 2, 3))
    np.testing.assert_allclose(scores("wanda", calib, aggregation="sum"), expected, rtol=1e-4)


def test_act_norm(calib) -> None:
    expected = np.sqrt((taps(hidden()) ** 2).mean(-1).sum((1, 2)))
    np.testing.assert_allclose(scores("act-norm", calib, aggregation="sum"), expected, rtol=1e-4)


def test_act_var(calib) -> None:
    expected = taps(hidden()).var(-1).sum((1, 2))
    np.testing.assert_allclose(scores("act-var", calib, aggregation="sum"), expected, rtol=1e-4)


def test_flap(calib) -> None:
    expected = (taps(hidden()).var(-1) * (W2**2).sum(0)).sum((1, 2))
    np.testing.assert_allclose(scores("flap", calib, aggregation="sum"), expected, rtol=1e-4)


def test_obspa_is_the_least_increase_of_the_squared_error(calib) -> None:
    x = taps(hidden()).reshape(C * 9, -1)
    h = np.cov(x, bias=True)
    h += 1e-4 * np.trace(h) / len(h) * np.eye(len(h))
    inverse, w = np.linalg.inv(h), W2.reshape(5, C * 9)
    blocks = [np.arange(9 * c, 9 * c + 9) for c in range(C)]
    loss = [np.trace(w[:, b] @ np.linalg.inv(inverse[np.ix_(b, b)]) @ w[:, b].T) for b in blocks]
    assert np.argmin(scores("obspa", calib)) == np.argmin(loss)


def test_scores_of_the_user(tmp_path) -> None:
    given = {"w1": np.random.default_rng(1).random(W1.shape), "w2": np.random.default_rng(2).random(W2.shape)}
    np.savez(tmp_path / "s.npz", **given)
    np.testing.assert_allclose(scores(f"scores:{tmp_path / 's.npz'}"), sums(given["w1"], given["w2"]))


@pytest.mark.parametrize(
    "arrays, says",
    [
        ({"w9": np.zeros(3)}, "'w9', which this model doesn't have; name the arrays as its parameters"),
        ({"w1": np.zeros((C, 3))}, "the parameter .*; give one for each of its elements"),
        ({"w1": np.full(W1.shape, np.nan)}, "are not finite numbers; replace NaN and infinity"),
        ({}, "hold no array; save one for each parameter"),
    ],
)
def test_scores_that_do_not_fit(tmp_path, arrays, says) -> None:
    np.savez(tmp_path / "s.npz", **arrays)
    with pytest.raises(UsageError, match=says):
        scores(f"scores:{tmp_path / 's.npz'}")


def test_scores_from_a_file_that_is_none(tmp_path) -> None:
    (tmp_path / "s.npz").write_bytes(b"nothing")
    for name in ("s.npz", "missing.npz"):
        with pytest.raises(UsageError, match=r"can't be read as an \.npz file: .*; save them with numpy.savez"):
            scores(f"scores:{tmp_path / name}")


def test_roles_weigh_members() -> None:
    weights = ("producer=1", "consumer=0", "pass-through=3")
    passing = sum(abs(WEIGHTS[n].astype(np.float64)) for n in ("scale", "shift", "mean", "var"))
    expected = abs(W1).sum((1, 2, 3)) + 3 * passing
    np.testing.assert_allclose(scores("l1", aggregation="sum", role_weight=weights), expected, rtol=1e-6)


def test_every_criterion_is_tested() -> None:
    here = {name.split("_")[1] for name in globals() if name.startswith("test_")}
    named = {name.split("-")[0] for name, c in CRITERIA.items() if c.needs != GRADIENTS}
    assert named <= here, "a criterion without a test of its own"
