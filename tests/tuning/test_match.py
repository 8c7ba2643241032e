"""The slope of the loss is that of finite differences, in every weight."""

from __future__ import annotations

import numpy as np
import pytest

import spa_cli
from spa_cli.measures.classes import LOGITS
from spa_cli.runtime.session import open_session, run
from spa_cli.tuning.match import Match
from spa_cli.tuning.terms import VALUES, Term
from tests.builders import build, random
from tests.tuning.nets import analysed, images, net


def _match(form=LOGITS) -> Match:
    (_, original), (_, small) = analysed(net(8)), analysed(net(3, seed=5))
    return Match(original, small, [Term("logits", form)], ["w1", "b1", "w2", "b2"], {"x": images(4)})


@pytest.mark.parametrize("form", [LOGITS, VALUES])
def test_slopes(form) -> None:
    match, parts = _match(form), [{"x": images(4)}, {"x": images(4, seed=2)}]
    weights = {n: w.copy() for n, w in match.gradients.start().items()}
    match.weigh(parts, weights)
    loss, slopes = match.slope(parts, weights)
    assert loss == pytest.approx(1, rel=1e-4)
    assert loss == pytest.approx(match.held(parts, weights), rel=1e-5)
    rng = np.random.default_rng(0)
    for name, slope in slopes.items():
        way = rng.normal(size=slope.shape).astype(np.float32)
        sides = [match.held(parts, {**weights, name: weights[name] + s * 1e-3 * way}) for s in (1, -1)]
        assert (sides[0] - sides[1]) / 2e-3 == pytest.approx(float((slope * way).sum()), rel=2e-2, abs=1e-3)


def test_all_outputs_count_alike_at_the_start_and_what_is_inside_half_of_one_and_more_in_a_step() -> None:
    (_, original), (_, small) = analysed(net(8)), analysed(net(8, seed=5))
    terms = [Term("logits", LOGITS), Term("p", VALUES, -3), Term("r", VALUES, -3, inner=True)]
    match = Match(original, small, terms, ["w1"], {"x": images(4)})
    weights, parts = match.gradients.start(), [{"x": images(8)}]
    match.weigh(parts, weights)
    losses = match.losses(parts[0], weights)
    np.testing.assert_allclose(losses * match.scale, [0.5, 0.5, 0.5], rtol=1e-4)
    np.testing.assert_allclose(losses * match.taught, [0.5, 0.5, 8], rtol=1e-4)
    assert match.held(parts, weights) == pytest.approx(1.5, rel=1e-4)
    assert match.slope(parts, weights)[0] == pytest.approx(9, rel=1e-4)


def test_how_much_outputs_vary_is_told_by_several_runs() -> None:
    (_, original), (small, narrow) = analysed(net(8), batch=1), analysed(net(3, seed=5), batch=1)
    runs = [{"x": images(1, seed=s)} for s in range(8)]

    def made(*more) -> Match:
        return Match(original, narrow, [Term("logits", VALUES)], ["w1"], runs[0], more)

    alone, match = made(), made(*runs[1:])
    one, several = (m.losses(runs[0], m.gradients.start())[0] for m in (alone, match))
    # one sample does not vary at all
    assert several < 1e-6 * one
    varies = np.concatenate([match.seen(feeds)["logits"] for feeds in runs]).var(0)
    off = match.seen(runs[0])["logits"] - run(open_session(small), runs[0])[0]
    assert several == pytest.approx(float((np.square(off) / varies).sum()), rel=1e-4)


def test_channels_that_hardly_vary_count_less_where_only_angles_count() -> None:
    (_, original), (_, small) = analysed(net(8)), analysed(net(3, seed=5))
    feeds = [{"x": images(32)}]

    def losses(**more) -> float:
        match = Match(original, small, [Term("logits", VALUES, **more)], ["w1"], {"x": images(4)}, feeds)
        given = match.seen(feeds[0])["logits"]
        off = np.square(given - ours).sum(0)
        expected = float((off / (given.var(0).mean() if more else given.var(0))).mean()) * 4 / 32
        assert match.losses(feeds[0], match.gradients.start())[0] == pytest.approx(expected, rel=0.2)
        return expected

    ours = run(open_session(analysed(net(3, seed=5))[0]), feeds[0])[0]
    assert losses() != pytest.approx(losses(alike=True), rel=1e-3)


def test_what_is_not_lost_does_not_outweigh_what_is() -> None:
    (_, original), (_, small) = analysed(net(8)), analysed(net(8))
    terms = [Term("logits", VALUES), Term("a", VALUES, -3, inner=True), Term("r", VALUES, -3, inner=True)]
    match = Match(original, small, terms, ["w1", "w2"], {"x": images(4)}, [{"x": images(32)}])
    weights, parts = match.gradients.start(), [{"x": images(8)}]
    weights["w2"] = weights["w2"] * 0.5
    match.weigh(parts, weights)
    # only what stands behind is off: a change of a part in a million before it is no disaster
    weights["w1"] = weights["w1"] * (1 + 1e-6)
    assert match.held(parts, weights) == pytest.approx(1, rel=1e-2)


def test_shapes_that_inference_misses_are_seen() -> None:
    """Behind operators that ONNX infers nothing of, as skl2onnx writes them; at other numbers of samples, too."""
    text = """(float[N,4] x) => (float[N,3] p) {
      s = ai.onnx.ml.Scaler<offset=[0.1,0.2,0.3,0.4], scale=[1.0,2.0,1.0,0.5]>(x)
      c = Cast<to=1>(s)
      a = MatMul(c, wa)
      r = Relu(a)
      b = MatMul(r, wb)
      p = Softmax(b)
    }"""
    original, small = (
        build(text, opset=17, domains={"ai.onnx.ml": 3}, wa=random((4, width), "a"), wb=random((width, 3), "b"))
        for width in (8, 5)
    )
    x = np.random.default_rng(0).normal(size=(23, 4)).astype(np.float32)
    found = spa_cli.tune(small, original, epochs=3, calib=x, batch=5, augment="none")
    assert found.tuned.trained == 2
    assert found.tuned.missing == {}
    assert found.tuned.training.best < 0.9


def test_runs_at_the_same_time_give_what_one_run_gives() -> None:
    (_, original), (_, small) = analysed(net(8)), analysed(net(3, seed=5))
    x, names = images(7), ["w1", "b1", "w2", "b2"]
    alone, several = (
        Match(original, small, [Term("logits", VALUES)], names, {"x": x}, together=together) for together in (1, 3)
    )
    weights = alone.gradients.start()
    # of unlike length, each counting by its samples
    apart = [{"x": part} for part in np.split(x, [4, 6])]
    loss, slopes = alone.slope([{"x": x}], weights)
    loss_apart, slopes_apart = several.slope(apart, weights)
    assert loss_apart == pytest.approx(loss, rel=1e-5)
    assert several.held(apart, weights) == pytest.approx(loss, rel=1e-5)
    for name in names:
        np.testing.assert_allclose(slopes_apart[name], slopes[name], rtol=1e-4, atol=1e-6)


def test_no_gradient_is_summed_over_axes_that_nothing_was_repeated_along() -> None:
    """What the original gives has sizes that are known: of its difference to what the network gives, too."""
    (_, original), (_, small) = analysed(net(8)), analysed(net(8, seed=5))
    match = Match(original, small, [Term("a", VALUES, -3)], ["w1"], {"x": images(4)})
    summed = [n for n in match.gradients.adjoint.model.graph.node if n.op_type == "ReduceSum"]
    # over samples, of the weight alone
    assert len(summed) == 1
