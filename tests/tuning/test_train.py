"""Training brings a network nearer, keeps the best, can be interrupted, and gives the same again."""

from __future__ import annotations

import time

import numpy as np
import pytest
from onnx import numpy_helper

from spa_cli.calibration.chunks import Calibration
from spa_cli.measures.classes import LOGITS
from spa_cli.options.tune import Training as Asked
from spa_cli.tuning import train as training
from spa_cli.tuning.batches import Batches
from spa_cli.tuning.match import Match
from spa_cli.tuning.rate import RATES, found_rate
from spa_cli.tuning.terms import Term
from spa_cli.tuning.train import Training, train
from spa_cli.tuning.whitened import White
from tests.tuning.nets import analysed, halved, images, net


def _train(asked, rate=0.01, small=None, **more) -> tuple[Training, Match]:
    (_, original), (source, narrow) = analysed(net(8)), analysed(small or net(3, seed=5))
    match = Match(original, narrow, [Term("logits", LOGITS)], ["w1", "b1", "w2", "b2"], {"x": images(4)})
    batches = Batches.of(source.graph, Calibration([{"x": images(64)}], ""), 8)
    judges = [{"x": images(32, seed=9)}]
    return train(match, batches, judges, (), asked, 0, rate, **more), match


def test_what_is_trained_comes_nearer_on_samples_that_it_never_saw() -> None:
    found, match = _train(Asked(epochs=40), rate=0.02)
    assert found.steps == 320
    assert found.best < 0.5
    assert found.weights is not None
    judged = match.held([{"x": images(32, seed=9)}], found.weights)
    assert judged == pytest.approx(found.best, rel=1e-4)
    assert [p.step for p in found.curve] == sorted({p.step for p in found.curve})


def test_weights_are_judged_as_the_file_stores_them() -> None:
    found, match = _train(Asked(epochs=10), rate=0.02, small=halved(net(3, seed=5)))
    assert found.weights is not None
    for value in found.weights.values():
        np.testing.assert_array_equal(value, value.astype(np.float16).astype(np.float32))
    assert match.held([{"x": images(32, seed=9)}], found.weights) == pytest.approx(found.best, rel=1e-4)


def test_the_same_seed_gives_the_same_weights() -> None:
    one, two = (_train(Asked(epochs=3), rate=0.02)[0].weights for _ in range(2))
    assert one is not None and two is not None
    for name, value in one.items():
        np.testing.assert_array_equal(value, two[name])


def test_where_nothing_is_better_the_weights_stay() -> None:
    near = net(8)
    near.graph.initializer[0].CopyFrom(numpy_helper.from_array(1.01 * numpy_helper.to_array(near.graph.initializer[0])))
    near.graph.initializer[0].name = "w1"
    found, _ = _train(Asked(epochs=2), rate=0.99, small=near)
    assert found.weights is None
    assert found.best == 1
    assert found.steps


@pytest.mark.parametrize(
    ("losses", "judged"),
    [
        # on the way back from the first steps, and better than the start only at the end
        ([1.5, 1.45, 1.4, 1.35, 1.3, 1.25, 1.2, 1.15, 1.1, 1.05, 1.01, 0.9], 12),
        # away from it
        ([1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0, 2.1, 2.2], 7),
    ],
)
def test_it_goes_on_as_long_as_what_it_gives_gets_better(monkeypatch, losses, judged) -> None:
    left = iter([1.0, *losses])
    monkeypatch.setattr(Match, "held", lambda *_: next(left))
    found, _ = _train(Asked(epochs=12), rate=1e-3)
    assert [p.loss for p in found.curve] == [1.0, *losses[:judged]]
    assert (found.weights is not None) is (min(losses[:judged]) < 1)


def test_a_network_that_gives_the_same_already_is_not_trained() -> None:
    found, _ = _train(Asked(epochs=2), small=net(8))
    assert found.weights is None
    assert found.steps == 0


def test_an_interrupt_keeps_the_best_so_far() -> None:
    def stop(point) -> None:
        if point.loss < 0.9:
            raise KeyboardInterrupt

    found, _ = _train(Asked(epochs=40), rate=0.02, step_done=stop)
    assert found.interrupted
    assert found.weights is not None
    assert found.best < 0.9
    assert found.steps < 320


def test_time_ends_it() -> None:
    found, _ = _train(Asked(minutes=0.01))
    assert 0.5 < found.seconds < 5
    assert found.steps > 1


def test_no_time_goes_into_a_test_of_rates_that_would_take_all_of_it(monkeypatch) -> None:
    monkeypatch.setattr(training, "found_rate", lambda *_: pytest.fail("it was tested"))
    slope = Match.slope
    # a step takes a thirtieth of the time
    monkeypatch.setattr(Match, "slope", lambda *given: (time.sleep(0.04), slope(*given))[1])
    found, _ = _train(Asked(minutes=0.02), rate=None)
    assert found.rate == RATES[-1] and 1 < found.steps < 40


def test_the_rate_that_is_found_is_one_that_helps_and_leaves_the_weights_alone() -> None:
    (_, original), (source, narrow) = analysed(net(8)), analysed(net(3, seed=5))
    match = Match(original, narrow, [Term("logits", LOGITS)], ["w1", "b1", "w2", "b2"], {"x": images(4)})
    batches = Batches.of(source.graph, Calibration([{"x": images(64)}], ""), 8)
    weights = match.gradients.start()
    before = {n: w.copy() for n, w in weights.items()}
    judges = [{"x": images(32, seed=9)}]
    rate = found_rate(match, weights, batches((), np.random.default_rng(0)), judges, 1000, White({}, {}))
    assert 1e-4 < rate < 0.1
    assert found_rate(match, weights, batches((), np.random.default_rng(0)), judges, 1, White({}, {})) <= rate
    for name, value in before.items():
        np.testing.assert_array_equal(weights[name], value)
    assert _train(Asked(epochs=5), rate=rate)[0].best < 0.95
