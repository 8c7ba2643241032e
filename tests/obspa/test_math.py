import numpy as np
import pytest

from spa_cli.obspa.moments import Moments
from spa_cli.obspa.refit import intercept, refit, solve
from spa_cli.obspa.saliency import Consumer, convex, greedy


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def correlated(rng: np.random.Generator, n: int, p: int) -> np.ndarray:
    """Rows whose coordinates depend on each other, well conditioned."""
    return rng.normal(size=(n, p)) @ (np.eye(p) + 0.3 * rng.normal(size=(p, p)))


def moments(x: np.ndarray, t: np.ndarray | None = None, centred: bool = True) -> Moments:
    """Moments of rows added in three chunks."""
    made = Moments(centred)
    for part in np.array_split(np.arange(len(x)), 3):
        made.add(x[None, part], None if t is None else t[None, part])
    return made


@pytest.mark.parametrize("centred", [True, False])
def test_refit_is_the_least_squares_optimum(centred, rng) -> None:
    x, w = correlated(rng, 400, 12), rng.normal(size=(5, 12))
    t = x @ w.T + 0.1 * rng.normal(size=(400, 5)) + (3.0 if centred else 0.0)
    found = solve(moments(x, t, centred), np.zeros((1, 5, 12)), 1e-9)[0]
    design = np.c_[x, np.ones(len(x))] if centred else x
    best = np.linalg.lstsq(design, t, rcond=None)[0].T
    assert np.allclose(found, best[:, :12], atol=1e-3)
    if centred:
        assert np.allclose(intercept(moments(x, t), found[None])[0], best[:, 12], atol=1e-2)


def test_damping_pulls_towards_the_weights_the_layer_has(rng) -> None:
    x, w0 = rng.normal(size=(50, 8)), rng.normal(size=(1, 3, 8))
    t = rng.normal(size=(50, 3))
    far, near = solve(moments(x, t), w0, 1e-6), solve(moments(x, t), w0, 1e6)
    assert np.abs(near - w0).max() < 1e-4 < np.abs(far - w0).max()


def test_error_from_moments_is_the_mean_squared_error(rng) -> None:
    x, t = rng.normal(size=(90, 6)) + 2, rng.normal(size=(90, 4)) - 1
    w, b = rng.normal(size=(1, 4, 6)), rng.normal(size=(1, 4))
    direct = np.square(x @ w[0].T + b[0] - t).mean(0)
    assert np.allclose(moments(x, t).error(w, b)[0], direct, rtol=1e-4)


def test_a_fit_that_does_not_help_is_refused(rng) -> None:
    x, w0 = rng.normal(size=(200, 6)), rng.normal(size=(1, 3, 6))
    t = x @ w0[0].T
    fit, held = moments(x[:150], t[:150]), moments(x[150:], t[150:])
    assert refit(fit, held, w0, np.zeros((1, 3))) is None


def test_downdated_inverse_equals_the_recomputed_one(rng) -> None:
    x, w = correlated(rng, 300, 12), rng.normal(size=(4, 12))
    h = np.cov(x.T, bias=True)
    places = np.arange(12).reshape(4, 3)
    consumer = Consumer(w, h, places, 1.0)
    damped = h + 1e-4 * np.trace(h) / 12 * np.eye(12)
    consumer.remove(1)
    consumer.remove(3)
    keep = np.r_[0:3, 6:9]
    assert np.allclose(consumer.v[np.ix_(keep, keep)], np.linalg.inv(damped[np.ix_(keep, keep)]), rtol=1e-6)
    # and the weights are the damped least-squares ones: W_K = W H_:K H_KK^-1
    best = w @ damped[:, keep] @ np.linalg.inv(damped[np.ix_(keep, keep)])
    assert np.allclose(consumer.w[:, keep], best, rtol=1e-6)


def test_the_score_is_the_error_that_removal_makes(rng) -> None:
    x, w = correlated(rng, 500, 6), rng.normal(size=(3, 6))
    h = np.cov(x.T, bias=True)
    consumer = Consumer(w, h, np.arange(6).reshape(3, 2), 1.0)
    damped = h + 1e-4 * np.trace(h) / 6 * np.eye(6)
    for channel, score in enumerate(consumer.scores()):
        keep = np.setdiff1d(np.arange(6), [2 * channel, 2 * channel + 1])
        change = w - w @ damped[:, keep] @ np.linalg.inv(damped[np.ix_(keep, keep)]) @ np.eye(6)[keep]
        assert np.isclose(score, np.einsum("op,pq,oq->", change, damped, change), rtol=1e-6)


def test_dead_and_duplicated_channels_go_first_and_cost_nothing(rng) -> None:
    x = rng.normal(size=(1000, 5))
    x[:, 3] = 0
    x[:, 4] = x[:, 1]
    w = rng.normal(size=(4, 5)) + 1
    order, errors = greedy([Consumer(w, np.cov(x.T, bias=True), np.arange(5)[:, None], 1.0)], 5)
    assert order[0] == 3
    assert order[1] in (1, 4)
    assert errors[1] < 1e-3 * errors[2]


def test_scores_add_up_over_consumers(rng) -> None:
    hs = [np.cov(rng.normal(size=(100, 4)).T, bias=True) for _ in range(2)]
    ws = [rng.normal(size=(3, 4)) for _ in range(2)]
    places = np.arange(4)[:, None]
    alone = [Consumer(w, h, places, k).scores() for w, h, k in zip(ws, hs, (1.0, 2.0), strict=True)]
    order, errors = greedy([Consumer(w, h, places, k) for w, h, k in zip(ws, hs, (1.0, 2.0), strict=True)], 4)
    assert order[0] == np.argmin(alone[0] + alone[1])
    assert np.isclose(errors[0], np.min(alone[0] + alone[1]))


def test_convex_never_decreases_and_keeps_the_total() -> None:
    errors = np.array([3.0, 1.0, 2.0, 0.5, 9.0])
    hull = convex(errors)
    assert (np.diff(hull) >= 0).all()
    assert np.isclose(hull.sum(), errors.sum())
