"""Queries against keys: what is lost by a channel that no weight reads."""

from __future__ import annotations

import numpy as np
import pytest

from spa_cli.analysis import Analysis, analyse_model
from spa_cli.calibration.chunks import Calibration
from spa_cli.obspa.curvature import Curvature
from spa_cli.obspa.products import lost
from spa_cli.runtime.load import load
from tests.builders import build, described

X = (np.random.default_rng(0).normal(size=(64, 7, 5)) + 1).astype(np.float32)
# the layers of attention in a row, which turn their queries and keys by one table or by tables of their own
LAYER = """
  q{i} = MatMul({x}, wq{i})  k{i} = MatMul({x}, wk{i})  a{i} = Mul(q{i}, {table})  b{i} = Mul(k{i}, {table})
  t{i} = Transpose<perm=[0,2,1]>(b{i})  s{i} = MatMul(a{i}, t{i})  p{i} = Softmax(s{i})  m{i} = MatMul(p{i}, {x})
"""
HEADS = """(float[N,7,5] x) => (y) {
  q = MatMul(x, wq)  q4 = Reshape(q, split)  qt = Transpose<perm=[0,2,1,3]>(q4)
  k = MatMul(x, wk)  k4 = Reshape(k, split)  kt = Transpose<perm=[0,2,3,1]>(k4)
  s = MatMul(qt, kt)  p = Softmax(s)  m = ReduceMean<keepdims=0>(p, one)  z = MatMul(m, x)
  y = ReduceMean<keepdims=0>(z, one)
}"""


def _lost(analysis: Analysis) -> list[np.ndarray | None]:
    curvature = Curvature(analysis, Calibration([{"x": X}], "samples"), 0)
    found = [g for g in analysis.grouping.groups if "wq" in g.tensor]
    return [lost(analysis.graph, analysis.grouping, g, curvature._layers, curvature.statistics) for g in found]


def _variance(weight: np.ndarray, x: np.ndarray = X) -> np.ndarray:
    return (x @ weight).var((0, 1))


def _energy(weight: np.ndarray, x: np.ndarray = X) -> np.ndarray:
    return np.square(x @ weight).mean((0, 1))


def _arrays(model) -> dict[str, np.ndarray]:
    graph = load(model).graph
    return {name: graph.array(name) for name in graph.parameters}


def test_of_one_product_it_is_the_energy_of_both_sides() -> None:
    text = (
        "(float[N,7,5] x) => (y) {"
        + LAYER.format(i=0, x="x", table="r")
        + " z = MatMul(m0, w)  y = ReduceMean<keepdims=0>(z, one) }"
    )
    model = build(text, wq0=(5, 6), wk0=(5, 6), r=(6,), w=(5, 3), one=[1])
    analysis = analyse_model(load(model), {})
    assert [described(g) for g in analysis.grouping.groups] == ["6: r:0 wk0:1 wq0:1"]
    arrays = _arrays(model)
    (found,) = _lost(analysis)
    np.testing.assert_allclose(found, _energy(arrays["wq0"]) * _variance(arrays["wk0"]) / 12, rtol=1e-4)


def test_products_of_several_layers_add_up() -> None:
    layers = LAYER.format(i=0, x="x", table="r") + LAYER.format(i=1, x="m0", table="r")
    model = build(
        f"(float[N,7,5] x) => (y) {{ {layers} z = MatMul(m1, w)  y = ReduceMean<keepdims=0>(z, one) }}",
        wq0=(5, 6), wk0=(5, 6), wq1=(5, 6), wk1=(5, 6), r=(6,), w=(5, 3), one=[1],
    )  # fmt: skip
    arrays = _arrays(model)
    (found,) = _lost(analyse_model(load(model), {}))
    scores = (X @ arrays["wq0"] * arrays["r"]) @ (X @ arrays["wk0"] * arrays["r"]).transpose(0, 2, 1)
    chances = np.exp(scores - scores.max(-1, keepdims=True))
    after = chances / chances.sum(-1, keepdims=True) @ X
    first = _energy(arrays["wq0"]) * _variance(arrays["wk0"])
    second = _energy(arrays["wq1"], after) * _variance(arrays["wk1"], after)
    np.testing.assert_allclose(found, (first + second) / 12, rtol=1e-3)


def test_heads_that_choose_for_themselves_have_their_own() -> None:
    model = build(HEADS, wq=(5, 8), wk=(5, 8), split=[0, 0, 2, 4], one=[1])
    analysis = analyse_model(load(model), {})
    arrays = _arrays(model)
    expected = (_energy(arrays["wq"]) * _variance(arrays["wk"])).reshape(2, 4) / 16
    found = [each for each in _lost(analysis) if each.shape == (2, 4)]
    np.testing.assert_allclose(found[0], expected, rtol=1e-4)
    ranked = Curvature(analysis, Calibration([{"x": X}], "samples"), 0).rankings
    (loss,) = (r.loss for r in ranked if r.order.shape == (2, 4))
    # every head loses its least, together
    np.testing.assert_allclose(loss, np.sort(expected, -1).sum(0), rtol=1e-4)


def test_more_queries_than_keys() -> None:
    text = HEADS.replace(
        "kt = Transpose<perm=[0,2,3,1]>(k4)", "ku = Transpose<perm=[0,2,3,1]>(k4)  kt = Expand(ku, both)"
    )
    text = text.replace("k4 = Reshape(k, split)", "k4 = Reshape(k, alone)")
    model = build(text, wq=(5, 8), wk=(5, 4), split=[0, 0, 2, 4], alone=[0, 0, 1, 4], both=[1, 2, 1, 1], one=[1])
    analysis = analyse_model(load(model), {})
    assert "4: wk:1 wq:1*2" in [described(g) for g in analysis.grouping.groups]
    arrays = _arrays(model)
    (found,) = (each for each in _lost(analysis) if each is not None and each.shape == (4,))
    expected = _energy(arrays["wq"]).reshape(2, 4).mean(0) * _variance(arrays["wk"]) / 8
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_queries_and_keys_in_one_weight() -> None:
    text = """(float[N,7,5] x) => (y) {
      h = MatMul(x, wqk)  q, k = Split<axis=2, num_outputs=2>(h)
      t = Transpose<perm=[0,2,1]>(k)  s = MatMul(q, t)  p = Softmax(s)  z = MatMul(p, x)
      y = ReduceMean<keepdims=0>(z, one)
    }"""
    model = build(text, wqk=(5, 12), one=[1])
    analysis = analyse_model(load(model), {})
    curvature = Curvature(analysis, Calibration([{"x": X}], "samples"), 0)
    (group,) = analysis.grouping.groups
    assert described(group) == "6: wqk:1*2"
    found = lost(analysis.graph, analysis.grouping, group, curvature._layers, curvature.statistics)
    weight = _arrays(model)["wqk"]
    energy, variance = (of(weight).reshape(2, 6).mean(0) for of in (_energy, _variance))
    # which half is which nobody can tell from the weight: as if both were the mean
    np.testing.assert_allclose(found, energy * variance / 12, rtol=1e-4)


@pytest.mark.parametrize("size", [0.2, 4.0])
def test_what_hardly_decides_goes_first(size) -> None:
    """Scores that are nearly alike say little: the smaller they are, the less their channels count beside others."""
    text = (
        "(float[N,7,5] x) => (y) {"
        + LAYER.format(i=0, x="x", table="r")
        + " f = MatMul(m0, u)  g = Relu(f)  z = MatMul(g, w)  y = ReduceMean<keepdims=0>(z, one) }"
    )
    rng = np.random.default_rng(1)
    weights = {n: (rng.normal(size=(5, 6)) * size).astype(np.float32) for n in ("wq0", "wk0")}
    model = build(text, **weights, r=np.ones(6, np.float32), u=(5, 8), w=(8, 3), one=[1])
    analysis = analyse_model(load(model), {})
    curvature = Curvature(analysis, Calibration([{"x": X}], "samples"), 0)
    losses = {g.tensor: float(r.loss.sum()) for g, r in zip(analysis.grouping.groups, curvature.rankings, strict=True)}
    (found,) = _lost(analysis)
    assert losses["wq0"] == pytest.approx(float(found.sum()) * losses["u"], rel=1e-6)
    assert (losses["wq0"] > 20 * losses["u"]) == (size == 4.0)
