from pathlib import Path

import numpy as np
import pytest

import spa_cli
from spa_cli.obspa import refine as module
from tests.builders import build, doubts
from tests.obspa.test_repair import distance, shape_of

BLOCK = """(float[N,3,8,8] x) => (y) {
  a = Conv<pads=[1,1,1,1]>(x, wa, ba)  b = Relu(a)  y = Conv<pads=[1,1,1,1]>(b, wy, by)
}"""
WEIGHTS = {"wa": (24, 3, 3, 3), "ba": (24,), "wy": (6, 24, 3, 3), "by": (6,)}
TOKENS = """(float[N,7,12] x) => (y) {
  a = MatMul(x, wa)  b = Add(a, ba)  c = Div(b, r)  d = Erf(c)  e = Add(d, one)  f = Mul(b, e)  h = Mul(f, half)
  y = MatMul(h, wy)
}"""
TOKEN_WEIGHTS = {"wa": (12, 40), "ba": (40,), "wy": (40, 8), "r": 1.4142135, "one": 1.0, "half": 0.5}
GROUPED = """(float[N,3,8,8] x) => (y) {
  e = Conv(x, we, be)  r = Clip(e, low, high)  a = Conv<pads=[1,1,1,1], group=12>(r, wa)
  n = BatchNormalization(a, s, o, m, v)  b = Clip(n, low, high)
  y = Conv(b, wy, by)
}"""
GROUPED_WEIGHTS = {
    "we": (12, 3, 1, 1), "be": (12,), "wa": (12, 1, 3, 3), "wy": (6, 12, 1, 1), "by": (6,), "low": 0.0, "high": 6.0,
    "s": (12,), "o": (12,), "m": (12,), "v": np.ones(12, np.float32),
}  # fmt: skip


def calibration(folder, model, count) -> Path:
    """A file of ``count`` samples."""
    x = np.random.default_rng(1).normal(size=shape_of(model, count)).astype(np.float32)
    np.savez(folder / "calib.npz", x=x)
    return folder / "calib.npz"


@pytest.mark.parametrize(
    ("text", "weights"), [(BLOCK, WEIGHTS), (TOKENS, TOKEN_WEIGHTS)], ids=["convolutions", "tokens"]
)
def test_a_refined_pair_comes_closer_on_inputs_nobody_saw(text, weights, tmp_path, monkeypatch) -> None:
    model = build(text, **weights)
    calib = calibration(tmp_path, model, 256)
    refined = spa_cli.prune(model, target_macs=0.5, calib=calib)
    assert refined.plan.about["repair"]["refined"] == 1
    monkeypatch.setattr("spa_cli.obspa.walk.find_pairs", lambda graph, layers: {})
    plain = spa_cli.prune(model, target_macs=0.5, calib=calib)
    assert plain.plan.about["repair"]["refined"] == 0
    unseen = np.random.default_rng(5).normal(size=shape_of(model, 64)).astype(np.float32)
    assert distance(model, refined.model, unseen) < 0.97 * distance(model, plain.model, unseen)


def test_grouped_convolutions_and_norms_are_refined_through_the_same_code(tmp_path) -> None:
    model = build(GROUPED, **GROUPED_WEIGHTS)
    calib = calibration(tmp_path, model, 128)
    first, second = (spa_cli.prune(model, ratio=0.4, calib=calib) for _ in range(2))
    assert first.plan.about["repair"]["refined"] == 1
    assert first.model.SerializeToString() == second.model.SerializeToString()


COMPUTED_BIAS = """(float[N,3,8,8] x) => (y) {
  t = Conv(x, wt)  r = Relu(t)  z = CastLike(ba, r)  a = Conv<pads=[1,1,1,1]>(r, wa, z)  b = Relu(a)
  o = CastLike(by, b)  y = Conv<pads=[1,1,1,1]>(b, wy, o)
}"""


def test_a_bias_that_is_computed_is_at_hand_when_the_first_layer_runs_again(tmp_path) -> None:
    weights = {"wt": (6, 3, 1, 1), "wa": (24, 6, 3, 3), "ba": (24,), "wy": (6, 24, 3, 3), "by": (6,)}
    model = build(COMPUTED_BIAS, opset=19, ir=9, **weights)
    small = spa_cli.prune(model, target_macs=0.5, calib=calibration(tmp_path, model, 128))
    assert doubts(small) == []
    assert small.plan.about["repair"]["refined"] >= 1


def test_a_step_that_held_back_samples_refuse_is_not_taken(monkeypatch) -> None:
    monkeypatch.setattr(module, "gauss_newton", lambda block, samples, gram: -1e3 * np.ones((1, 12, 28)))
    small = spa_cli.prune(build(BLOCK, **WEIGHTS), target_macs=0.5)
    assert small.plan.about["repair"]["refined"] == 0


ODD = {
    "norm along tokens": """(float[N,8,12] x) => (y) {
      a = MatMul(x, wa)  n = BatchNormalization(a, s8, o8, o8, v8)  h = Relu(n)  y = MatMul(h, wy)
    }""",
    "weight on the left, then a norm": """(float[N,12,40] x) => (y) {
      a = MatMul(wl, x)  h = Relu(a)  b = MatMul(wm, h)  y = BatchNormalization(b, s8, o8, o8, v8)
    }""",
    "a constant per sample": """(float[4,12] x) => (y) {
      a = MatMul(x, wa)  b = Relu(a)  h = Mul(b, each)  y = MatMul(h, wy)
    }""",
    "summed over the outputs": """(float[N,8,12] x) => (y) {
      a = Einsum<equation="bti,io->bt">(x, wa)  h = Relu(a)  y = MatMul(h, wt)
    }""",
    "read twice": "(float[N,12] x) => (y) { a = MatMul(x, wa)  h = Relu(a)  b = Gemm(h, wh, h)  y = MatMul(b, wy) }",
    "tokens in one line, beside a stream that keeps them apart": """(float[N,8,12] x) => (y) {
      s = Reshape(x, flat)  o = Gemm(s, wo)  q = Reshape(o, apart)  t = Add(x, q)
      u = Reshape(t, flat)  a = Gemm(u, wa)  k = Reshape(a, wide)  g = Relu(k)  l = Reshape(g, long)  b = Gemm(l, wb)
      r = Reshape(b, apart)  v = Add(t, r)  y = MatMul(v, ww)
    }""",
    "one size for layers that are cut differently": """(float[N,8,12] x) => (y, z) {
      a = MatMul(x, wa)  b = Reshape(a, all)  c = Relu(b)  y = MatMul(c, wy)
      d = MatMul(y, wu)  e = Reshape(d, all)  f = Relu(e)  z = MatMul(f, wy2)
    }""",
    "one sample": "(float[1,12] x) => (y) { a = MatMul(x, wa)  h = Relu(a)  y = MatMul(h, wy) }",
}
ODD_WEIGHTS = {
    "wa": (12, 40), "wy": (40, 8), "wl": (40, 12), "wm": (8, 40), "wt": (8, 6), "wh": (40, 40), "each": (4, 1),
    "wo": (12, 12), "ww": (12, 8), "wb": (40, 12), "flat": [-1, 12], "apart": [-1, 8, 12],
    "wide": [-1, 8, 40], "long": [-1, 40],
    "wu": (8, 40), "wy2": (40, 3), "all": [-1, 8, 40], "s8": (8,), "o8": (8,), "v8": np.ones(8, np.float32),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_no_odd_pair_stops_the_repair(name, tmp_path) -> None:
    used = {n: w for n, w in ODD_WEIGHTS.items() if n in ODD[name]}
    model = build(ODD[name], **used)
    small = spa_cli.prune(model, ratio=0.4, calib=calibration(tmp_path, model, 64))
    assert not [w for w in small.warnings if "repair" in w]
