"""A covariance of few rows: what is known of it, and that it frees no channel."""

from __future__ import annotations

import numpy as np
import pytest

from spa_cli.obspa.layers import find_layers
from spa_cli.obspa.moments import Moments
from spa_cli.obspa.saliency import Consumer, greedy, inverse
from spa_cli.obspa.shrinkage import POSITIONS, oracle_approximating, shrunk
from tests.builders import analysed, build, rankings


def covariance(p: int) -> np.ndarray:
    """Of neighbours that depend on each other (an autoregressive process, as in Chen et al. 2010)."""
    return 0.5 ** np.abs(np.subtract.outer(np.arange(p), np.arange(p)))


def sample(p: int, n: int, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).multivariate_normal(np.zeros(p), covariance(p), n)
    return x.T @ x / n


@pytest.mark.parametrize("n", [8, 20, 60, 400])
def test_it_comes_near_the_best_shrinkage_there_is(n) -> None:
    """The oracle knows the covariance; on average over draws, OAS loses little to it, and both beat the sample."""
    p, true = 50, covariance(50)
    errors = {"sample": 0.0, "oas": 0.0, "oracle": 0.0}
    for seed in range(30):
        s = sample(p, n, seed)
        target = np.trace(s) / p * np.eye(p)
        direction = target - s
        best = np.clip(np.sum(direction * (true - s)) / np.sum(direction**2), 0, 1)
        for name, found in (("sample", s), ("oas", shrunk(s, n)), ("oracle", s + best * direction)):
            errors[name] += float(np.square(found - true).sum())
    assert errors["oracle"] <= errors["oas"] <= 1.1 * errors["oracle"]
    assert errors["oas"] < 0.98 * errors["sample"]


def test_many_rows_are_believed_and_one_is_not() -> None:
    assert oracle_approximating(sample(20, 100_000), 100_000) < 1e-3
    assert oracle_approximating(sample(20, 2), 2) > 0.3
    assert oracle_approximating(np.eye(5), 100) == 1.0
    assert 0 <= oracle_approximating(np.zeros((4, 4)), 10) <= 1
    assert oracle_approximating(np.ones((1, 1)), 10) == 1.0


def test_the_trace_stays() -> None:
    s = sample(30, 10)
    assert np.isclose(np.trace(shrunk(s, 10)), np.trace(s))
    assert np.linalg.eigvalsh(shrunk(s, 10)).min() > 1e-3 > np.linalg.eigvalsh(s).min()


def test_no_channel_is_free_for_want_of_rows() -> None:
    """64 independent inputs seen 16 times: 48 of them look like combinations of the others, and none is."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(16, 64))
    h, w = np.cov(x.T, bias=True), rng.normal(size=(8, 64))
    places = np.arange(64)[:, None]
    alone = np.square(w).sum(0).mean()
    _, believed = greedy([Consumer(w, inverse(h), places, 1.0)], 64)
    _, doubted = greedy([Consumer(w, inverse(shrunk(h, 16)), places, 1.0)], 64)
    assert believed[:40].max() < 0.01 * alone
    assert doubted[:40].mean() > 0.1 * alone


def test_positions_of_one_sample_are_few_rows() -> None:
    many, few = Moments(), Moments()
    x = np.random.default_rng(0).normal(size=(1, 640, 3))
    many.add(x)
    few.add(x, samples=10)
    assert many.rows == 640
    assert few.rows == 10 * POSITIONS
    assert np.allclose(many.h, few.h)


def test_nor_in_a_network_of_pooled_features(tmp_path) -> None:
    """28 samples are fitted to, of 96 features that a pooling leaves one row a sample of."""
    model = build(
        """(float[N,12,6,6] x) => (y) {
          a = Conv(x, wa)  b = Relu(a)  p = GlobalAveragePool(b)  f = Flatten(p)  y = MatMul(f, wy) }""",
        wa=(96, 12, 3, 3),
        wy=(96, 10),
    )
    np.save(tmp_path / "x.npy", np.random.default_rng(1).normal(size=(32, 12, 6, 6)).astype(np.float32))
    (ranking,) = rankings(analysed(model), "obspa", calib=str(tmp_path / "x.npy"))
    assert ranking.loss[:32].sum() > 0.02 * ranking.loss.sum()


@pytest.mark.parametrize(("layout", "shape"), [(0, (7, 5, 3)), (1, (5, 7, 3))])
def test_the_samples_of_a_recurrent_layer_are_its_batch_not_its_steps(layout, shape) -> None:
    model = build(
        f"(float[{','.join(map(str, shape))}] x) => (y) {{ y, h, c = LSTM<hidden_size=4, layout={layout}>(x, w, r) }}",
        w=(1, 16, 3),
        r=(1, 16, 4),
    )
    analysis = analysed(model)
    (layer,) = find_layers(analysis.graph, analysis.state.shapes)
    assert layer.samples(shape) == 5
