"""Quantised weights in QDQ form, and other ways a weight reaches its operator."""

import numpy as np
import onnx
import pytest
from onnx import helper

from spa_cli import prune
from tests.builders import as_constant_nodes, build, case, groups, positive, random, with_initializer_inputs
from tests.equivalence import assert_groups, assert_removing_is_zeroing


def integers(*shape, low=-100, high=100, dtype=np.int8) -> np.ndarray:
    return np.random.default_rng(shape[0]).integers(low, high, shape).astype(dtype)


CASES = [
    case(
        "int8 weights, one scale per output channel",
        """(float[N,3,5,5] x) => (y) {
          wa = DequantizeLinear<axis=0>(qa, sa, za)
          a = Conv(x, wa, ba)
          r = Relu(a)
          wy = DequantizeLinear<axis=0>(qy, sy, zy)
          y = Conv(r, wy)
        }""",
        ["6: ba:0 qa:0 qy:1 sa:0 za:0"],
        qa=integers(6, 3, 3, 3),
        sa=positive(6) / 100,
        za=np.zeros(6, np.int8),
        ba=(6,),
        qy=integers(4, 6, 1, 1),
        sy=positive(4) / 100,
        zy=np.zeros(4, np.int8),
    ),
    case(
        "int8 weights, one scale for all, no zero point",
        """(float[N,5] x) => (y) {
          wa = DequantizeLinear(qa, sa)
          a = MatMul(x, wa)
          r = Relu(a)
          wy = DequantizeLinear(qy, sy)
          y = MatMul(r, wy)
        }""",
        ["6: qa:1 qy:0"],
        qa=integers(5, 6),
        sa=0.01,
        qy=integers(6, 4),
        sy=0.02,
    ),
    case(
        "QDQ around activations",
        """(float[N,3,5,5] x) => (y) {
          wa = DequantizeLinear<axis=0>(qa, sa, za)
          a = Conv(x, wa)
          r = Relu(a)
          q = QuantizeLinear(r, s, z)
          d = DequantizeLinear(q, s, z)
          y = Conv(d, wy)
        }""",
        ["6: qa:0 sa:0 wy:1 za:0"],
        qa=integers(6, 3, 3, 3),
        sa=positive(6) / 100,
        za=np.zeros(6, np.int8),
        s=0.02,
        z=np.array(128, np.uint8),
        wy=(4, 6, 1, 1),
    ),
    case(
        "int32 bias with scales of its own",
        """(float[N,3,5,5] x) => (y) {
          wa = DequantizeLinear<axis=0>(qa, sa)
          ba = DequantizeLinear<axis=0>(qb, sb)
          a = Conv(x, wa, ba)
          y = Conv(a, wy)
        }""",
        ["6: qa:0 qb:0 sa:0 sb:0 wy:1"],
        qa=integers(6, 3, 1, 1),
        sa=positive(6) / 100,
        qb=integers(6, dtype=np.int32),
        sb=positive(6) / 1000,
        wy=(4, 6, 1, 1),
    ),
    case(
        "asymmetric weights: zero is not zero",
        """(float[N,5] x) => (y) {
          wa = DequantizeLinear(qa, sa, za)
          a = MatMul(x, wa)
          y = MatMul(a, wy)
        }""",
        ["6: qa:1 wy:0"],
        qa=integers(5, 6, low=0, high=255, dtype=np.uint8),
        sa=0.01,
        za=np.array(120, np.uint8),
        wy=(6, 4),
    ),
    case(
        "asymmetric weights on both sides are approximate",
        """(float[N,5] x) => (y) {
          wa = DequantizeLinear(qa, sa, za)
          a = MatMul(x, wa)
          wy = DequantizeLinear(qy, sa, za)
          y = MatMul(a, wy)
        }""",
        ["6~: qa:1 qy:0"],
        qa=integers(5, 6, low=0, high=255, dtype=np.uint8),
        sa=0.01,
        za=np.array(120, np.uint8),
        qy=integers(6, 4, low=0, high=255, dtype=np.uint8),
    ),
    case(
        "weight behind Transpose, Cast and a scale",
        """(float[N,5] x) => (y) {
          t = Transpose<perm=[1,0]>(half)
          c = Cast<to=1>(t)
          w = Mul(c, scale)
          a = MatMul(x, w)
          r = Relu(a)
          y = MatMul(r, wy)
        }""",
        ["6: half:0 scale:0 wy:0"],
        half=random((6, 5), dtype=np.float16),
        scale=positive(6),
        wy=(6, 4),
    ),
    case(
        "weight behind Reshape and Unsqueeze",
        """(float[N,3,5,5] x) => (y) {
          w = Reshape(flat, shape)
          a = Conv(x, w)
          u = Unsqueeze(wy, axes)
          y = Conv(a, u)
        }""",
        ["6: flat:0 wy:1"],
        flat=(6, 27),
        shape=[6, 3, 3, 3],
        axes=[2, 3],
        wy=(4, 6),
    ),
    case(
        "half precision",
        """(float16[N,3,5,5] x) => (y) {
          a = Conv(x, wa, ba)
          r = Relu(a)
          y = Conv(r, wy)
        }""",
        ["6: ba:0 wa:0 wy:1"],
        wa=random((6, 3, 3, 3), dtype=np.float16),
        ba=random((6,), dtype=np.float16),
        wy=random((4, 6, 1, 1), dtype=np.float16),
    ),
    case(
        "double precision",
        """(double[N,5] x) => (y) {
          a = Gemm(x, wa, ba)
          r = Relu(a)
          y = Gemm(r, wy)
        }""",
        ["6: ba:0 wa:1 wy:0"],
        wa=random((5, 6), dtype=np.float64),
        ba=random((6,), dtype=np.float64),
        wy=random((6, 4), dtype=np.float64),
    ),
]


@pytest.mark.parametrize(("model", "expected", "reasons"), CASES)
def test_weights_in_every_form(model, expected, reasons) -> None:
    assert_groups(model, expected, reasons)


def test_weight_normalisation_divides_by_what_becomes_zero() -> None:
    """Where it can't be replaced by its value: others may set what it is made of."""
    text, weights = (
        """(float[N,5] x) => (y) {
          n = ReduceL2<keepdims=1, axes=[1]>(v)
          d = Div(v, n)
          w = Mul(d, g)
          t = Transpose(w)
          a = MatMul(x, t)
          y = MatMul(a, wy)
        }""",
        {"v": (6, 5), "g": positive(6, 1), "wy": (6, 4)},
    )
    model = with_initializer_inputs(build(text, opset=11, **weights))
    assert groups(model) == ["6~: g:0 v:0 wy:0"]


PLAIN = """(float[N,3,5,5] x) => (y) {
  a = Conv<pads=[1,1,1,1]>(x, wa, ba)
  r = Relu(a)
  f = Reshape(r, shape)
  y = Gemm(f, wy)
}"""
WEIGHTS = {"wa": (6, 3, 3, 3), "ba": (6,), "shape": [-1, 150], "wy": (150, 4)}


def test_weights_in_constant_nodes() -> None:
    assert_groups(as_constant_nodes(build(PLAIN, **WEIGHTS)), ["6: ba:0 wa:0 wy:0*25"])


def test_initializers_listed_as_inputs() -> None:
    model = with_initializer_inputs(build(PLAIN, opset=11, **WEIGHTS))
    assert groups(model) == ["6: ba:0 wa:0 wy:0*25"]
    assert assert_removing_is_zeroing(model) == 2


@pytest.mark.parametrize("per_axis", [False, True], ids=["linear indices", "indices per axis"])
def test_a_sparse_weight_is_cut_and_stays_sparse(per_axis) -> None:
    model = build("(float[N,5] x) => (float[N,4] y) { a = MatMul(x, wa)  y = MatMul(a, wy) }", wa=(5, 6))
    at = [1, 7, 8, 20]
    values = helper.make_tensor("wy", onnx.TensorProto.FLOAT, [4], [0.5, -1.0, 2.0, 0.25])
    places = [[i // 4, i % 4] for i in at] if per_axis else at
    indices = helper.make_tensor("wy_indices", onnx.TensorProto.INT64, np.shape(places), np.ravel(places))
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [6, 4]))
    assert_groups(model, ["6: wa:1 wy:0"])
    result = prune(model, ratio=0.5, method="l1")
    (kept,) = result.model.graph.sparse_initializer
    assert list(kept.dims) == [3, 4] and len(kept.indices.dims) == (2 if per_axis else 1)
    assert result.plan.hidden.keys() == {"wy"} and result.plan.kept.keys() == {"wa"}


def test_integer_product_of_a_quantised_activation() -> None:
    model = build(
        """(float[N,5] x) => (float[N,4] y) {
          q, s, z = DynamicQuantizeLinear(x)
          i = MatMulInteger(q, qa, z)
          f = Cast<to=1>(i)
          a = Mul(f, s)
          b = Gemm(a, wb)
          y = Gemm(b, wy)
        }""",
        qa=np.random.default_rng(0).integers(-9, 9, (5, 6)).astype(np.int8),
        wb=(6, 7),
        wy=(7, 4),
    )
    assert_groups(model, ["6: qa:1 wb:0", "7: wb:1 wy:0"])
