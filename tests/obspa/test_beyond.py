"""Layers that no repair reaches are named, with the reason."""

import numpy as np
import pytest

import spa_cli
from spa_cli.obspa.beyond import COMPUTED
from tests.builders import build
from tests.operators.test_control_flow import IF, IF_WEIGHTS, LOOP, LOOP_WEIGHTS, SCAN, SCAN_WEIGHTS

CARRIED = """(float[N,5] x) => (float[N,4] y) {
  a = Gemm(x, wa)
  h, again = Loop (three, yes, a, wc) <
    body = turn (int64 i, bool go, float[N,6] hi, float[6,6] w) => (bool on, float[N,6] ho, float[6,6] w) {
      u = MatMul(hi, w)
      ho = Tanh(u)
      on = Identity(go)
    }
  >
  y = Gemm(h, wy)
}"""
MODULATED = """(float[1,3,6,6] x, float[1,5] z) => (y) {
  a = Conv<pads=[1,1,1,1]>(x, wa)
  h = Relu(a)
  f = Gemm(z, ws, bs)
  s = Reshape(f, along)
  w = Mul(wm, s)
  q = Mul(w, w)
  e = ReduceSum<keepdims=1>(q, taps)
  n = Sqrt(e)
  d = Div(w, n)
  m = Conv(h, d)
  r = Relu(m)
  y = Conv(r, wy)
}"""
MODULATION = {
    "wa": (8, 3, 3, 3),
    "ws": (5, 8),
    "bs": np.ones(8, np.float32),
    "along": [1, -1, 1, 1],
    "wm": (6, 8, 3, 3),
    "taps": [1, 2, 3],
    "wy": (5, 6, 1, 1),
}


def kept(model, ratio=0.4) -> dict[str, str]:
    return spa_cli.prune(model, ratio=ratio, method="obspa").plan.about["repair"]["kept_sliced"]


@pytest.mark.parametrize(
    ("text", "weights", "inside", "owner"),
    [
        (LOOP, LOOP_WEIGHTS, {"u", "d", "out"}, "Loop 'Loop_h'"),
        (IF, IF_WEIGHTS, {"t0", "e0", "e"}, "If 'If_c'"),
        (SCAN.replace("T,N", "3,2"), SCAN_WEIGHTS, {"b", "out"}, "Scan 'Scan_h'"),
        (CARRIED, {**LOOP_WEIGHTS, "wc": (6, 6)}, {"u"}, "Loop 'Loop_h'"),
    ],
    ids=["Loop", "If", "Scan", "weights that a Loop hands over"],
)
def test_layers_inside_bodies(text, weights, inside, owner) -> None:
    found = kept(build(text, **{n: w for n, w in weights.items() if n in text}))
    told = {name: why for name, why in found.items() if "inside" in why}
    assert told and all(why == f"it is inside the body of {owner}" for why in told.values())
    assert {name.rpartition("->")[2] for name in told} >= inside


def test_a_convolution_that_a_style_modulates() -> None:
    found = kept(build(MODULATED, **MODULATION))
    assert found["Conv_m"] == COMPUTED


def test_a_product_with_a_matrix_that_the_input_scales() -> None:
    model = build(
        """(float[N,5] x, float[1,8] g) => (y) {
          a = MatMul(x, wa)
          h = Relu(a)
          w = Mul(wm, g)
          m = MatMul(h, w)
          r = Relu(m)
          y = MatMul(r, wy)
        }""",
        wa=(5, 12),
        wm=(12, 8),
        wy=(8, 4),
    )
    assert kept(model)["MatMul_m"] == COMPUTED


def test_what_reads_nothing_that_was_cut_is_not_told() -> None:
    cut = spa_cli.prune(build(MODULATED, **MODULATION), ratio=0.1, method="obspa", ignore=["wa"])
    assert "wm" in cut.plan.kept and "Conv_m" not in cut.plan.about["repair"]["kept_sliced"]


def test_attention_multiplies_by_no_weight() -> None:
    """Nor do keys that a scale, a rotary table or a norm went over."""
    model = build(
        """(float[1,6,5] x) => (y) {
          q = MatMul(x, wq)
          k = MatMul(x, wk)
          kg = Mul(k, gain)
          kt = Transpose<perm=[0,2,1]>(kg)
          s = MatMul(q, kt)
          p = Softmax(s)
          v = MatMul(x, wv)
          o = MatMul(p, v)
          y = MatMul(o, wy)
        }""",
        wq=(5, 8),
        wk=(5, 8),
        gain=(8,),
        wv=(5, 8),
        wy=(8, 4),
    )
    assert COMPUTED not in kept(model).values()
