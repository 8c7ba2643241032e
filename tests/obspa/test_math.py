import numpy as np
import pytest

from spa_cli.obspa.moments import Moments
from spa_cli.obspa.observations import Observations, Split, predict
from spa_cli.obspa.refit import Problem, refit
from spa_cli.obspa.saliency import Consumer, Rigid, convex, greedy, inverse, inverse_root


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def correlated(rng: np.random.Generator, n: int, p: int) -> np.ndarray:
    """Observations whose coordinates depend on each other, well conditioned."""
    return rng.normal(size=(n, p)) @ (np.eye(p) + 0.3 * rng.normal(size=(p, p)))


def exact(x: np.ndarray, t: np.ndarray) -> Observations:
    """Observations with one right value each."""
    return Observations(x[None], t[None], t[None])


@pytest.mark.parametrize("centred", [True, False])
def test_refit_is_the_least_squares_optimum(centred, rng) -> None:
    x, w = correlated(rng, 400, 12), rng.normal(size=(5, 12))
    t = x @ w.T + 0.1 * rng.normal(size=(400, 5)) + (3.0 if centred else 0.0)
    found, b = Problem(exact(x, t), np.zeros((1, 5, 12)), np.zeros((1, 5)), centred).solve(1e-9, 6)
    design = np.c_[x, np.ones(len(x))] if centred else x
    best = np.linalg.lstsq(design, t, rcond=None)[0].T
    assert np.allclose(found[0], best[:, :12], atol=1e-3)
    if centred:
        assert np.allclose(b[0], best[:, 12], atol=1e-2)


def test_moments_do_not_depend_on_the_chunks(rng) -> None:
    x, t = correlated(rng, 300, 7)[None], rng.normal(size=(1, 300, 2))
    whole, parts = Moments(), Moments()
    whole.add(x)
    for part in np.array_split(np.arange(300), 4):
        parts.add(x[:, part])
    assert np.allclose(whole.h, parts.h, rtol=1e-4, atol=1e-5)
    assert np.allclose(whole.h[0], np.cov(x[0].T, bias=True), rtol=1e-4, atol=1e-4)
    # more may come after what there is was asked for
    again = Moments()
    for part in np.array_split(np.arange(300), 4):
        again.add(x[:, part])
        assert again.h.shape == again.second.shape
    assert np.allclose(whole.h, again.h, rtol=1e-4, atol=1e-5)
    assert np.allclose(whole.second, again.second, rtol=1e-4, atol=1e-5)
    parts = [(x[:, :100].astype(np.float32), t[:, :100]), (x[:, 100:].astype(np.float32), t[:, 100:])]
    c, mean = whole.against(parts, lambda both: both)
    assert np.allclose(mean[0], t[0].mean(0), atol=1e-6)
    assert np.allclose(c[0], (t[0] - t[0].mean(0)).T @ x[0] / 300, atol=1e-4)


@pytest.mark.parametrize("size", [0, 1e-5, 1e-3])
def test_coordinates_that_hardly_change_keep_their_covariance(size, rng) -> None:
    """What single precision rounds off squares of a large mean would be noise, which an inverse blows up."""
    x = correlated(rng, 3000, 6)
    x[:, 2:5] = 3.7 + size * x[:, 2:5]
    x = x.astype(np.float32)
    moments = Moments()
    for part in np.array_split(x, 3):
        moments.add(part[None])
    wide = x.astype(np.float64)
    right, scale = np.cov(wide.T, bias=True), np.maximum(wide.std(0), 1e-9)
    assert np.abs((moments.h[0] - right) / np.outer(scale, scale)).max() < 1e-4
    assert np.allclose(moments.mean_x[0], wide.mean(0), atol=1e-6)
    assert np.allclose(moments.second[0], wide.T @ wide / len(x), rtol=1e-5)
    t = (wide @ rng.normal(size=(6, 2)) / scale.max()).astype(np.float32)
    parts = zip(np.array_split(x, 3), np.array_split(t, 3), strict=True)
    c, mean = moments.against(parts, lambda both: (both[0][None], both[1][None]))
    assert np.allclose(mean[0], t.mean(0, dtype=float), atol=1e-6)
    expected = (t - t.mean(0, dtype=float)).T @ (wide - wide.mean(0)) / len(x)
    assert np.abs((c[0] - expected) / scale).max() < 1e-4
    # more may come after what there is was asked for
    moments.add(x[None])
    assert np.abs((moments.h[0] - right) / np.outer(scale, scale)).max() < 1e-4


def test_the_root_of_what_rounding_left_negative() -> None:
    block = np.array([[4.0, 2.0], [2.0, 1.0 - 1e-14]])
    root = inverse_root(block)
    assert np.isfinite(root).all()
    sound = np.array([[4.0, 1.0], [1.0, 3.0]])
    assert np.allclose(inverse_root(sound).T @ inverse_root(sound), np.linalg.inv(sound))


def test_damping_pulls_towards_the_weights_the_layer_has(rng) -> None:
    x, w0 = rng.normal(size=(50, 8)), rng.normal(size=(1, 3, 8))
    problem = Problem(exact(x, rng.normal(size=(50, 3))), w0, np.zeros((1, 3)), True)
    assert np.abs(problem.solve(1e6, 1)[0] - w0).max() < 1e-4 < np.abs(problem.solve(1e-6, 1)[0] - w0).max()


def test_where_the_activation_is_flat_any_value_will_do(rng) -> None:
    """Outputs that a Relu maps to zero leave the fit free, so the rest is fitted better."""
    x, w = correlated(rng, 600, 10), rng.normal(size=(4, 10))
    y = x @ w.T
    kept = x[:, :7]
    below = np.where(y <= 0, -np.inf, y)
    w0, b0 = w[None, :, :7], np.zeros((1, 4))
    rows = Observations(kept[None], below[None], np.maximum(y, 0)[None])
    tied = Problem(exact(kept, y), w0, b0, True).solve(1e-4, 6)
    errors = [rows.missed(*Problem(rows, w0, b0, True).solve(1e-4, rounds)).mean() for rounds in (1, 2, 6, 30)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.95 * rows.missed(*tied).mean()


def test_missed_is_the_distance_to_what_is_allowed() -> None:
    rows = Observations(np.zeros((1, 2, 1)), np.array([[[1.0], [-np.inf]]]), np.array([[[1.0], [0.0]]]))
    assert np.isclose(rows.missed(np.zeros((1, 1, 1)), np.array([[3.0]]))[0, 0], (2**2 + 3**2) / 2)
    assert np.isclose(rows.missed(np.zeros((1, 1, 1)), np.array([[-3.0]]))[0, 0], (4**2 + 0) / 2)


def test_a_fit_that_does_not_help_is_refused(rng) -> None:
    x, w0 = rng.normal(size=(200, 6)), rng.normal(size=(1, 3, 6))
    t = x @ w0[0].T
    assert refit(Split(exact(x, t), 150), w0, np.zeros((1, 3)), False) is None


def test_weights_that_have_to_stay_get_a_new_offset(rng) -> None:
    x, w0 = rng.normal(size=(200, 6)), rng.normal(size=(1, 3, 6))
    t = x @ w0[0].T + [1.0, -2.0, 0.5]
    found = refit(Split(exact(x, t), 150), w0, np.zeros((1, 3)), True, shift_only=True)
    assert found is not None
    assert found.damping is None
    assert np.array_equal(found.w, w0)
    assert np.allclose(found.b[0], [1.0, -2.0, 0.5], atol=1e-5)


def test_a_rigid_layer_costs_what_is_taken_away(rng) -> None:
    x, w = rng.normal(size=(300, 8)) @ rng.normal(size=(8, 8)) + 1, rng.normal(size=(3, 8))
    second, places = x.T @ x / 300, np.arange(8).reshape(4, 2)
    order, errors = greedy([Rigid(w, second, places, 1.0)], 4)
    for count in (1, 2, 3):
        gone = places[order[:count]].reshape(-1)
        assert np.isclose(np.square(x[:, gone] @ w[:, gone].T).sum(1).mean(), errors[:count].sum(), rtol=1e-6)
    first = min(range(4), key=lambda c: np.square(x[:, places[c]] @ w[:, places[c]].T).sum())
    assert order[0] == first


def test_downdated_inverse_equals_the_recomputed_one(rng) -> None:
    x, w = correlated(rng, 300, 12), rng.normal(size=(4, 12))
    h = np.cov(x.T, bias=True)
    places = np.arange(12).reshape(4, 3)
    consumer = Consumer(w, inverse(h), places, 1.0)
    damped = h + 1e-4 * np.trace(h) / 12 * np.eye(12)
    consumer.remove(1)
    consumer.remove(3)
    keep, now = np.r_[0:3, 6:9], consumer.places[[0, 2]].ravel()
    assert np.allclose(consumer.v[np.ix_(now, now)], np.linalg.inv(damped[np.ix_(keep, keep)]), rtol=1e-6)
    # and the weights are the damped least-squares ones: W_K = W H_:K H_KK^-1
    best = w @ damped[:, keep] @ np.linalg.inv(damped[np.ix_(keep, keep)])
    assert np.allclose(consumer.w[:, now], best, rtol=1e-6)


def test_what_no_channel_of_the_group_is_stays_in_the_inverse(rng) -> None:
    """A layer behind a concatenation: other groups' coordinates go on making up for those that are gone."""
    x, w = correlated(rng, 300, 40), rng.normal(size=(4, 40))
    h = np.cov(x.T, bias=True)
    places = np.arange(10, 40)[:, None]
    order, errors = greedy([Consumer(w, inverse(h), places, 1.0)], 30)
    gone = places[order[:25]].ravel()
    keep = np.setdiff1d(np.arange(40), gone)
    damped = h + 1e-4 * np.trace(h) / 40 * np.eye(40)
    left = damped[np.ix_(gone, gone)] - damped[np.ix_(gone, keep)] @ np.linalg.solve(
        damped[np.ix_(keep, keep)], damped[np.ix_(keep, gone)]
    )
    assert np.isclose(errors[:25].sum(), np.trace(w[:, gone] @ left @ w[:, gone].T), rtol=1e-6)


def test_the_score_is_the_error_that_removal_makes(rng) -> None:
    x, w = correlated(rng, 500, 6), rng.normal(size=(3, 6))
    h = np.cov(x.T, bias=True)
    consumer = Consumer(w, inverse(h), np.arange(6).reshape(3, 2), 1.0)
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
    order, errors = greedy([Consumer(w, inverse(np.cov(x.T, bias=True)), np.arange(5)[:, None], 1.0)], 5)
    assert order[0] == 3
    assert order[1] in (1, 4)
    assert errors[1] < 1e-3 * errors[2]


def test_scores_add_up_over_consumers(rng) -> None:
    hs = [np.cov(rng.normal(size=(100, 4)).T, bias=True) for _ in range(2)]
    ws = [rng.normal(size=(3, 4)) for _ in range(2)]
    places = np.arange(4)[:, None]
    alone = [Consumer(w, inverse(h), places, k).scores() for w, h, k in zip(ws, hs, (1.0, 2.0), strict=True)]
    order, errors = greedy([Consumer(w, inverse(h), places, k) for w, h, k in zip(ws, hs, (1.0, 2.0), strict=True)], 4)
    assert order[0] == np.argmin(alone[0] + alone[1])
    assert np.isclose(errors[0], np.min(alone[0] + alone[1]))


def test_what_counts_several_times_is_lost_so_often_in_the_same_order(rng) -> None:
    h, ws, places = np.cov(rng.normal(size=(100, 4)).T, bias=True), rng.normal(size=(2, 3, 4)), np.arange(4)[:, None]

    def both() -> list[Consumer]:
        return [Consumer(w, inverse(h), places, 1.0) for w in ws]

    order, once = greedy(both(), 4)
    again, counted = greedy(both(), 4, [1.0, 5.0])
    alone = np.array([consumer.scores()[order[0]] for consumer in both()])
    assert np.array_equal(order, again)
    assert np.isclose(once[0], alone.sum()) and np.isclose(counted[0], alone @ [1.0, 5.0])


def test_those_that_judge_apart_are_not_fitted_to(rng) -> None:
    x, w = rng.normal(size=(200, 6)).astype(np.float32), rng.normal(size=(3, 6))
    fit, judge = exact(x[:150], (x[:150] @ w.T).astype(np.float32)), exact(x[150:], (x[150:] @ w.T).astype(np.float32))
    noisy = Observations(judge.x, judge.low + 0.3, judge.high + 0.3)
    start = np.zeros((1, 3, 6)), np.zeros((1, 3))
    apart, whole = (refit(Split.of([fit], [noisy]), *start, True, judges_apart=each) for each in (True, False))
    assert np.allclose(apart.b, 0, atol=1e-3)
    assert np.allclose(whole.b, 0.3 * 50 / 200, atol=1e-2)


def test_convex_never_decreases_and_keeps_the_total() -> None:
    errors = np.array([3.0, 1.0, 2.0, 0.5, 9.0])
    hull = convex(errors)
    assert (np.diff(hull) >= 0).all()
    assert np.isclose(hull.sum(), errors.sum())


def test_an_output_that_is_off_nearly_always_does_not_outweigh_the_others() -> None:
    """Twenty rows of thirty inputs: what fits them is wrong on others, but for an output that has to be negative."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal((1, 2, 30))
    w[0, 1] *= 1e-3

    def rows(count) -> Observations:
        x = rng.standard_normal((1, count, 30)).astype(np.float32)
        wanted = predict(x, w, np.zeros((1, 2))) + rng.standard_normal((1, count, 2)).astype(np.float32)
        low, high = wanted.copy(), wanted.copy()
        low[..., 1], high[..., 1] = -np.inf, 0
        return Observations(x, low, high)

    fit, held = rows(20), rows(40)
    found = refit(Split.of([fit], [held]), w, np.zeros((1, 2)), centred=True)
    assert found is None or found.damping is None
