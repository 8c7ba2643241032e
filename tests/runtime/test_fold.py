"""Weights that are computed from other weights are replaced by their values."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import spa_cli
from spa_cli.runtime import fold
from spa_cli.runtime.load import load
from tests.builders import build, positive, with_initializer_inputs
from tests.equivalence import assert_groups, feeds, run
from tests.graph.files import save_external

NORMED = """(float[N,3,6,6] x) => (float[N,4,4,4] y) {
  square = Mul(v, v)
  total = ReduceSum<keepdims=1>(square, axes)
  length = Sqrt(total)
  d = Div(v, length)
  w = Mul(d, g)
  a = Conv<pads=[1,1,1,1]>(x, w, b)
  r = Relu(a)
  size = Shape(u)
  rows = Gather(size, zero)
  shape = Concat<axis=0>(rows, rest)
  flat = Reshape(u, shape)
  mean = ReduceMean<keepdims=1>(flat, one)
  centred = Sub(flat, mean)
  standard = Reshape(centred, size)
  y = Conv(r, standard)
}"""
NORMED_WEIGHTS = {
    "v": (8, 3, 3, 3),
    "axes": [1, 2, 3],
    "g": positive(8, 1, 1, 1),
    "b": (8,),
    "u": (4, 8, 3, 3),
    "zero": [0],
    "rest": [-1],
    "one": [1],
}
SPECTRAL = """(float[N,6] x) => (float[N,4] y) {
  t = Transpose(w0)
  p = MatMul(w0, right)
  left = MatMul(lefts, p)
  w = Div(t, left)
  a = MatMul(x, w)
  r = Relu(a)
  up = MatMul(wu, wd)
  wy = Add(full, up)
  y = Gemm<transB=1>(r, wy)
}"""
SPECTRAL_WEIGHTS = {
    "w0": (8, 6),
    "right": (6, 1),
    "lefts": (1, 8),
    "wu": (4, 2),
    "wd": (2, 8),
    "full": (4, 8),
}
CASES = [
    pytest.param(NORMED, NORMED_WEIGHTS, ["8: b:0 standard:1 w:0"], {"w", "standard", "b"}, id="norm, standardisation"),
    pytest.param(SPECTRAL, SPECTRAL_WEIGHTS, ["8: w:1 wy:1"], {"w", "wy"}, id="spectral norm, low-rank update"),
]


def _left(model) -> set[str]:
    return {t.name for t in model.graph.initializer}


@pytest.mark.parametrize(("text", "weights", "groups", "left"), CASES)
def test_a_computed_weight_becomes_one_that_is_cut_exactly(text, weights, groups, left) -> None:
    model = build(text, **weights)
    before = model.SerializeToString()
    source = load(model)
    assert _left(source.model) == left
    assert "were replaced by their values" in source.warnings[-1]
    assert model.SerializeToString() == before, "the input is never changed"
    kept = {n.name for n in source.model.graph.node}
    assert [n for n in model.graph.node if n.name in kept] == list(source.model.graph.node)
    (given,) = list(
        feeds(
            model,
            {"x": [2, *(d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[1:])]},
            np.random.default_rng(0),
        )
    )[:1]
    assert np.allclose(run(model, given)[0], run(source.model, given)[0], atol=1e-6)
    assert_groups(source.model, groups)


def test_a_computed_weight_is_refitted(tmp_path) -> None:
    rng = np.random.default_rng(0)
    model = build(NORMED, **NORMED_WEIGHTS)
    np.save(tmp_path / "c.npy", rng.standard_normal((64, 3, 6, 6)).astype(np.float32))
    result = spa_cli.prune(model, ratio=0.4, calib=tmp_path / "c.npy")
    repair = result.plan.about["repair"]
    assert repair["refitted"] == repair["layers"] == 2 and not repair["kept_sliced"]


UNTOUCHED = [
    ("transposed and cast", "h = Cast<to=1>(half)  w = Transpose(h)", {"half": np.ones((8, 5), np.float16)}),
    ("scaled", "w = Mul(v, g)", {"v": (5, 8), "g": positive(8)}),
    ("joined", "w = Concat<axis=1>(v, u)", {"v": (5, 4), "u": (5, 4)}),
    (
        "quantised on the way",
        "q = QuantizeLinear(v, s)  d = DequantizeLinear(q, s)  w = Abs(d)",
        {"v": (5, 8), "s": 0.1},
    ),
    ("noise", "n = RandomNormal<shape=[5,8]>()  w = Add(v, n)", {"v": (5, 8)}),
    ("a scale from the data", "m = ReduceMax<keepdims=0>(x)  w = Mul(v, m)", {"v": (5, 8)}),
]


@pytest.mark.parametrize(("chain", "weights"), [u[1:] for u in UNTOUCHED], ids=[u[0] for u in UNTOUCHED])
def test_what_a_cut_can_follow_or_nobody_knows_stays(chain, weights) -> None:
    model = build(f"(float[N,5] x) => (y) {{ {chain}  a = MatMul(x, w)  y = MatMul(a, wy) }}", wy=(8, 3), **weights)
    source = load(model)
    assert source.model == model and not source.warnings


def test_a_weight_that_something_else_reads_too_stays() -> None:
    model = build(
        """(float[N,5] x, int64[N] i) => (y, z) {
          t = Add(table, offset)
          a = MatMul(x, t)
          y = MatMul(a, wy)
          z = Gather<axis=0>(table, i)
        }""",
        table=(5, 8),
        offset=(8,),
        wy=(8, 3),
    )
    assert load(model).model == model


def test_what_others_could_set_stays() -> None:
    model = with_initializer_inputs(build(SPECTRAL, opset=12, **SPECTRAL_WEIGHTS))
    assert load(model).model == model


def test_tables_are_not_held_twice(monkeypatch) -> None:
    monkeypatch.setattr(fold, "_LARGEST", 16)
    model = build(SPECTRAL, **SPECTRAL_WEIGHTS)
    assert load(model).model == model


def test_what_takes_terabytes_on_the_way_is_not_worked_out(monkeypatch) -> None:
    """A large block that a file asks for, of which one number is left."""
    text = """(float[N,8] x) => (y) {
      block = ConstantOfShape(big)
      most = ReduceMax<keepdims=0>(block)
      w = Add(v, most)
      h = MatMul(x, w)
      r = Relu(h)
      y = MatMul(r, wy)
    }"""
    weights = {"v": (8, 6), "wy": (6, 4)}
    small, large = (build(text, **weights, big=[1 << bits]) for bits in (10, 38))
    assert {t.name for t in load(small).model.graph.initializer} == {"w", "wy"}
    monkeypatch.setattr(fold, "open_session", lambda *_: pytest.fail("it was worked out"))
    assert load(large).model == large


def test_weights_in_external_files(tmp_path) -> None:
    path = save_external(build(SPECTRAL, **SPECTRAL_WEIGHTS), tmp_path / "m.onnx")
    result = spa_cli.prune(path, tmp_path / "small.onnx", ratio=0.5, method="l1")
    small = onnx.load(tmp_path / "small.onnx").graph.initializer
    assert {t.name: numpy_helper.to_array(t).shape for t in small} == {"w": (6, 4), "wy": (4, 4)}
    assert result.plan.kept["wy"]["1"] == result.plan.kept["w"]["1"]
