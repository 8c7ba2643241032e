"""Layers with the activation and the sum inside, as onnxruntime fuses them, are repaired like plain ones."""

from __future__ import annotations

import numpy as np
import pytest

import spa_cli
from tests.builders import build

PLAIN = """(float[N,6,8,8] x) => (float[N,5] y) {
  a = Conv<pads=[1,1,1,1]>(x, wa, ba)  r = Relu(a)
  b = Conv<pads=[1,1,1,1]>(r, wb, bb)  s = Relu(b)
  c = Conv<pads=[1,1,1,1]>(s, wc, bc)  t = Add(c, r)  u = Relu(t)
  d = Conv(u, wd, bd)  v = Clip(d, low, high)
  g = GlobalAveragePool(v)  f = Flatten(g)
  h = Gemm(f, we, be)  i = Relu(h)  y = Gemm(i, wf, bf)
}"""
FUSED = """(float[N,6,8,8] x) => (float[N,5] y) {
  r = com.microsoft.FusedConv<pads=[1,1,1,1], activation="Relu">(x, wa, ba)
  s = com.microsoft.FusedConv<pads=[1,1,1,1], activation="Relu">(r, wb, bb)
  u = com.microsoft.FusedConv<pads=[1,1,1,1], activation="Relu">(s, wc, bc, r)
  v = com.microsoft.FusedConv<activation="Clip", activation_params=[0.0, 3.0]>(u, wd, bd)
  g = GlobalAveragePool(v)  f = Flatten(g)
  i = com.microsoft.FusedGemm<activation="Relu">(f, we, be)  y = Gemm(i, wf, bf)
}"""
DOMAINS = {"com.microsoft": 1}
SHAPES = {
    "wa": (24, 6, 3, 3),
    "wb": (24, 24, 3, 3),
    "wc": (24, 24, 3, 3),
    "wd": (32, 24, 1, 1),
    "we": (32, 32),
    "wf": (32, 5),
    "ba": (24,),
    "bb": (24,),
    "bc": (24,),
    "bd": (32,),
    "be": (32,),
    "bf": (5,),
}


@pytest.fixture(scope="module")
def calib(tmp_path_factory) -> object:
    """Correlated inputs."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(192, 6, 8, 8)) @ rng.normal(size=(8, 8)) / 3
    path = tmp_path_factory.mktemp("fused") / "calib.npz"
    np.savez(path, x=x.astype(np.float32))
    return path


def _drifts(text: str, calib: object) -> tuple[float, float, dict]:
    limits = {"low": 0.0, "high": 3.0} if "Clip(d" in text else {}
    model = build(text, domains=DOMAINS, **SHAPES, **limits)
    # the same channels in both: a fused operator has no adjoint, which OBSPA would score by
    options = {"target_macs": 0.6, "calib": calib, "method": "l2", "round_to": 1}
    repaired = spa_cli.prune(model, **options, repair=True)
    sliced = spa_cli.prune(model, **options, repair=False)
    return repaired.drift.relative_l2, sliced.drift.relative_l2, repaired.plan.about["repair"]


def test_fused_layers_are_refitted_as_well_as_plain_ones(calib, monkeypatch) -> None:
    refined, _, about_refined = _drifts(PLAIN, calib)
    fused, fused_sliced, about_fused = _drifts(FUSED, calib)
    monkeypatch.setattr("spa_cli.obspa.walk.find_pairs", lambda graph, layers: {})
    plain, plain_sliced, about_plain = _drifts(PLAIN, calib)
    # what stands between two fused layers can't be told from them, so the first is not refined
    assert about_fused["refined"] == 0 < about_refined["refined"]
    assert refined < plain
    assert 3 <= about_fused["refitted"] <= about_plain["refitted"]
    assert len(about_fused["kept_sliced"]) == len(about_plain["kept_sliced"])
    assert fused_sliced == pytest.approx(plain_sliced, rel=0.05)
    assert fused == pytest.approx(plain, rel=0.3)
    assert fused < 0.6 * fused_sliced


@pytest.mark.parametrize("activation", ["Sigmoid", "Tanh", "LeakyRelu"])
def test_what_hides_the_product_is_left_as_cut(calib, activation) -> None:
    text = FUSED.replace(
        '<pads=[1,1,1,1], activation="Relu">(s, wc, bc, r)',
        f'<pads=[1,1,1,1], activation="{activation}">(s, wc, bc, r)',
    )
    if activation == "LeakyRelu":
        text = text.replace('"LeakyRelu"', '"LeakyRelu", activation_params=[0.1]')
    _, _, about = _drifts(text, calib)
    assert about["layers"] == 5


def test_a_constant_that_is_added_inside_is_no_branch(calib) -> None:
    text = FUSED.replace("(s, wc, bc, r)", "(s, wc, bc, k)").replace("[N,", "[8,")
    model = build(text, domains=DOMAINS, **SHAPES, k=(8, 24, 8, 8))
    assert spa_cli.prune(model, target_macs=0.6, calib=calib).plan.about["repair"]["layers"] == 5
