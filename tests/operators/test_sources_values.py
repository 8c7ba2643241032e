"""Sizes that end up as numbers, bounds, ranges or outputs."""

import onnx
import pytest

from spa_cli.errors import CutError
from tests.builders import build
from tests.equivalence import assert_groups

SCALED = """(float[N,T,5] x) => (y) {
  q = MatMul(x, wq)
  k = MatMul(x, wk)
  t = Transpose<perm=[0,2,1]>(k)
  s = Shape(q)
  d = Slice(s, minus, big)
  f = Cast<to=1>(d)
  r = Sqrt(f)
  z = Div(q, r)
  m = MatMul(z, t)
  p = Softmax(m)
  v = MatMul(x, wv)
  o = MatMul(p, v)
  y = MatMul(o, wo)
}"""


def scaled(**more) -> onnx.ModelProto:
    weights = {"wq": (5, 8), "wk": (5, 8), "wv": (5, 6), "wo": (6, 4)}
    return build(SCALED, minus=[-1], big=[9223372036854775807], **weights, **more)


def test_scale_computed_from_a_shape_keeps_the_number_the_network_was_trained_with() -> None:
    assert_groups(scaled(), ["8: wk:1 wq:1", "6: wo:0 wv:1"])


def test_a_slice_bound_read_from_another_tensor_is_followed() -> None:
    """``b[:, :C]`` with the ``C`` of a tensor that shrinks on its own."""
    model = build(
        """(float[N,3,4] x) => (y) {
          a = Conv(x, wa)
          b = Conv(x, wb)
          s = Shape(a)
          c = Gather(s, one)
          p = Slice(b, zero, c, one)
          q = Conv(p, wp)
          r = Conv(a, wr)
          y = Add(q, r)
        }""",
        wa=(4, 3, 1),
        wb=(6, 3, 1),
        zero=[0],
        one=[1],
        wp=(5, 4, 1),
        wr=(5, 4, 1),
    )
    assert_groups(model, ["4: wa:0 wr:1", "2: wb:0", "4: wb:0 wp:1"])


def test_a_range_over_channels_keeps_its_length() -> None:
    model = build(
        """(float[N,3,4] x) => (y) {
          a = Conv(x, wa)
          s = Shape(a)
          c = Gather(s, one)
          r = Range(zero, c, one)
          f = Cast<to=1>(r)
          t = ReduceSum<keepdims=0>(f)
          b = Mul(a, t)
          y = Conv(b, wy)
        }""",
        wa=(4, 3, 1),
        zero=0,
        one=1,
        wy=(5, 4, 1),
    )
    assert_groups(model, ["4: wa:0 wy:1"])


def test_a_shape_that_is_an_output_keeps_its_values() -> None:
    model = build(
        """(float[N,3,4] x) => (y, int64[3] s) {
          a = Conv(x, wa)
          s = Shape(a)
          y = Conv(a, wy)
        }""",
        wa=(4, 3, 1),
        wy=(5, 4, 1),
    )
    with pytest.raises(CutError, match="the size given as graph output 's' would change"):
        assert_groups(model, ["4: wa:0 wy:1"])
