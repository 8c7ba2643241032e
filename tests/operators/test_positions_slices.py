"""Slices with strides, negative steps, shared and computed bounds."""

import pytest

from tests.builders import build, case, random
from tests.equivalence import assert_groups

STEP = "is sliced in steps of 2"

CASES = [
    case(
        "stride of channels: pairs stay together",
        """(float[N,3,4,4] x) => (y) {
          a = Conv(x, wa)
          p = Slice(a, zero, end, one, two)
          q = Slice(a, one, end, one, two)
          t = Mul(p, q)
          y = Conv(t, wy)
        }""",
        ["4: wa:0*2 wy:1"],
        wa=(8, 3, 1, 1),
        zero=[0],
        one=[1],
        two=[2],
        end=[9223372036854775807],
        wy=(5, 4, 1, 1),
    ),
    case(
        "stride that does not divide freezes",
        """(float[N,3,4,4] x) => (y) {
          a = Conv(x, wa)
          p = Slice(a, zero, end, one, two)
          y = Conv(p, wy)
        }""",
        [],
        {"wa:0": STEP, "wy:1": STEP},
        wa=(7, 3, 1, 1),
        zero=[0],
        one=[1],
        two=[2],
        end=[9223372036854775807],
        wy=(5, 4, 1, 1),
    ),
    case(
        "channels reversed by a negative step",
        """(float[N,3,4,4] x) => (y) {
          a = Conv(x, wa)
          p = Slice(a, last, first, one, back)
          c = Concat<axis=1>(a, p)
          y = Conv(c, wy)
        }""",
        ["6: wa:0 wy:1*2"],
        wa=(6, 3, 1, 1),
        last=[-1],
        first=[-9223372036854775807],
        one=[1],
        back=[-1],
        wy=(5, 12, 1, 1),
    ),
    case(
        "Slice by attributes, opset 9",
        """(float[N,3,4,4] x) => (y) {
          a = Conv(x, wa)
          p = Slice<axes=[1], starts=[0], ends=[3]>(a)
          q = Slice<axes=[1], starts=[-3], ends=[2147483647]>(a)
          t = Add(p, q)
          y = Conv(t, wy)
        }""",
        ["3: wa:0*2 wy:1"],
        opset=9,
        wa=(6, 3, 1, 1),
        wy=(5, 3, 1, 1),
    ),
    case(
        "overlapping slices",
        """(float[N,3,4,4] x) => (y) {
          a = Conv(x, wa)
          p = Slice(a, zero, four, one)
          q = Slice(a, two, six, one)
          c = Concat<axis=1>(q, p)
          y = Conv(c, wy)
        }""",
        ["2: wa:0 wy:1*2", "2: wa:0 wy:1", "2: wa:0 wy:1"],
        wa=(6, 3, 1, 1),
        zero=[0],
        one=[1],
        two=[2],
        four=[4],
        six=[6],
        wy=(5, 8, 1, 1),
    ),
]


@pytest.mark.parametrize(("model", "expected", "reasons"), CASES)
def test_slices(model, expected, reasons) -> None:
    assert_groups(model, expected, reasons)


def test_halves_with_bounds_computed_from_the_shape() -> None:
    model = build(
        """(float[N,7,5] x) => (y) {
          a = MatMul(x, wa)
          s = Shape(a)
          n = Gather(s, two)
          n1 = Add(n, one)
          h = Div(n1, two)
          p = Slice(a, zero, h, two)
          h2 = Mul(h, two)
          q = Slice(a, h, h2, two)
          g = Sigmoid(p)
          m = Mul(g, q)
          y = MatMul(m, wy)
        }""",
        wa=(5, 12),
        zero=[0],
        one=[1],
        two=[2],
        wy=(6, 4),
    )
    assert_groups(model, ["6: wa:1*2 wy:0"])


def test_a_slice_shared_by_two_nodes_is_rewritten_for_each() -> None:
    model = build(
        """(float[N,3,4,4] x) => (y) {
          a = Conv(x, wa)
          b = Conv(x, wb)
          p = Slice(a, two, end, one)
          q = Slice(b, two, end, one)
          c = Concat<axis=1>(p, q)
          y = Conv(c, wy)
        }""",
        wa=(6, 3, 1, 1),
        wb=random((6, 3, 1, 1), 1),
        one=[1],
        two=[2],
        end=[6],
        wy=(5, 8, 1, 1),
    )
    assert_groups(model, ["2: wa:0", "2: wb:0", "4: wa:0 wy:1", "4: wb:0 wy:1"])
