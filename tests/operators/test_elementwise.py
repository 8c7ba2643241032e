"""Element-wise operators and broadcasting: residual adds, gates, scales, slopes."""

import pytest

from tests.builders import case, positive
from tests.equivalence import assert_groups

C = {"w1": (6, 3, 1, 1), "b1": (6,), "w2": (4, 6, 1, 1)}

CASES = [
    case(
        "residual add, identity",
        """(float[N,3,5,5] x) => (y) {
          a = Conv(x, w0)
          b = Conv<pads=[1,1,1,1]>(a, w1, b1)
          r = Relu(b)
          c = Conv(r, w2)
          s = Add(a, c)
          t = Relu(s)
          y = Conv(t, w3)
        }""",
        ["8: w0:0 w1:1 w2:0 w3:1", "6: b1:0 w1:0 w2:1"],
        w0=(8, 3, 1, 1),
        w1=(6, 8, 3, 3),
        b1=(6,),
        w2=(8, 6, 1, 1),
        w3=(4, 8, 1, 1),
    ),
    case(
        "residual add, projection, a stage of two blocks",
        """(float[N,3,6,6] x) => (y) {
          a = Conv(x, w0)
          p = Conv<strides=[2,2]>(a, wp)
          b = Conv<strides=[2,2]>(a, w1)
          c = Conv(b, w2)
          s = Add(c, p)
          d = Conv(s, w3)
          e = Conv(d, w4)
          t = Sum(s, e)
          g = GlobalAveragePool(t)
          f = Flatten(g)
          y = Gemm(f, fc)
        }""",
        ["4: w0:0 w1:1 wp:1", "5: w1:0 w2:1", "8: fc:0 w2:0 w3:1 w4:0 wp:0", "3: w3:0 w4:1"],
        w0=(4, 3, 1, 1),
        wp=(8, 4, 1, 1),
        w1=(5, 4, 1, 1),
        w2=(8, 5, 1, 1),
        w3=(3, 8, 1, 1),
        w4=(8, 3, 1, 1),
        fc=(8, 4),
    ),
    case(
        "squeeze and excite",
        """(float[N,3,5,5] x) => (y) {
          a = Conv(x, w1, b1)
          g = GlobalAveragePool(a)
          h = Conv(g, ws, bs)
          r = Relu(h)
          e = Conv(r, we, be)
          q = Sigmoid(e)
          m = Mul(a, q)
          y = Conv(m, w2)
        }""",
        ["6: b1:0 be:0 w1:0 w2:1 we:0 ws:1", "2: bs:0 we:1 ws:0"],
        ws=(2, 6, 1, 1),
        bs=(2,),
        we=(6, 2, 1, 1),
        be=(6,),
        **C,
    ),
    case(
        "squeeze and excite through Gemm and Reshape",
        """(float[N,3,5,5] x) => (y) {
          a = Conv(x, w1, b1)
          g = ReduceMean<keepdims=0>(a, axes)
          h = Gemm<transB=1>(g, ws, bs)
          r = Relu(h)
          e = Gemm<transB=1>(r, we, be)
          q = HardSigmoid(e)
          k = Reshape(q, shape)
          m = Mul(a, k)
          y = Conv(m, w2)
        }""",
        ["6: b1:0 be:0 w1:0 w2:1 we:0 ws:1", "2: bs:0 we:1 ws:0"],
        ws=(2, 6),
        bs=(2,),
        we=(6, 2),
        be=(6,),
        axes=[2, 3],
        shape=[-1, 6, 1, 1],
        **C,
    ),
    case(
        "CBAM: spatial attention broadcast over channels",
        """(float[N,3,5,5] x) => (y) {
          a = Conv(x, w1, b1)
          p = ReduceSum(a, axes)
          q = Abs(a)
          u = ReduceSum(q, axes)
          c = Concat<axis=1>(p, u)
          s = Conv<pads=[1,1,1,1]>(c, ws)
          g = Sigmoid(s)
          m = Mul(a, g)
          y = Conv(m, w2)
        }""",
        ["6: b1:0 w1:0 w2:1"],
        {"ws:0": "has a single channel"},
        ws=(1, 2, 3, 3),
        axes=[1],
        **C,
    ),
    case(
        "layer scale, drop path as multiplication, bias",
        """(float[N,3,5,5] x) => (y) {
          a = Conv(x, w1, b1)
          s = Mul(a, scale)
          d = Mul(s, half)
          o = Add(d, offset)
          y = Conv(o, w2)
        }""",
        ["6: b1:0 offset:0 scale:1 w1:0 w2:1"],
        scale=positive(1, 6, 1, 1),
        half=0.5,
        offset=(6, 1, 1),
        **C,
    ),
    case(
        "PReLU with a slope per channel",
        """(float[N,3,5,5] x) => (y) {
          a = Conv(x, w1, b1)
          p = PRelu(a, slope)
          y = Conv(p, w2)
        }""",
        ["6: b1:0 slope:0 w1:0 w2:1"],
        slope=(6, 1, 1),
        **C,
    ),
    case(
        "PReLU with one slope",
        """(float[N,3,5,5] x) => (y) {
          a = Conv(x, w1, b1)
          p = PRelu(a, slope)
          y = Conv(p, w2)
        }""",
        ["6: b1:0 w1:0 w2:1"],
        {"slope:0": "has a single channel"},
        slope=(1, 1, 1),
        **C,
    ),
    case(
        "learned positions",
        """(float[N,7,5] x) => (y) {
          a = MatMul(x, w1)
          p = Add(a, pos)
          y = MatMul(p, w2)
        }""",
        ["8: pos:2 w1:1 w2:0"],
        {"pos:1": "graph input 'x' keeps its shape"},
        w1=(5, 8),
        pos=(1, 7, 8),
        w2=(8, 4),
    ),
    case(
        "where with a constant mask and clip",
        """(float[N,3,5,5] x, bool[N,1,1,1] m) => (y) {
          a = Conv(x, w1, b1)
          c = Clip(a, lo, hi)
          z = Where(m, c, zero)
          y = Conv(z, w2)
        }""",
        ["6: b1:0 w1:0 w2:1"],
        lo=0.0,
        hi=6.0,
        zero=0.0,
        **C,
    ),
    case(
        "gate by another branch",
        """(float[N,5] x) => (y) {
          a = Gemm(x, wa, ba)
          b = Gemm(x, wb)
          s = Sigmoid(b)
          t = Mul(s, b)
          m = Mul(a, t)
          y = Gemm(m, w2)
        }""",
        ["6: ba:0 wa:1 wb:1 w2:0"],
        wa=(5, 6),
        ba=(6,),
        wb=(5, 6),
        w2=(6, 4),
    ),
    case(
        "min, max, mean, pow, abs, sub of equal shapes",
        """(float[N,5] x) => (y) {
          a = Gemm(x, wa)
          b = Gemm(x, wb)
          i = Min(a, b)
          j = Max(a, b)
          k = Mean(i, j)
          l = Abs(k)
          p = Pow(l, two)
          s = Sub(p, a)
          y = Gemm(s, w2)
        }""",
        ["6: w2:0 wa:1 wb:1"],
        wa=(5, 6),
        wb=(5, 6),
        two=2.0,
        w2=(6, 4),
    ),
    case(
        "input added to channels keeps them",
        """(float[N,5] x, float[N,6] z) => (y) {
          a = Gemm(x, wa)
          s = Add(a, z)
          y = Gemm(s, w2)
        }""",
        [],
        {"wa:1": "graph input 'z' keeps its shape", "w2:0": "graph input 'z' keeps its shape"},
        wa=(5, 6),
        w2=(6, 4),
    ),
]


@pytest.mark.parametrize(("model", "expected", "reasons"), CASES)
def test_elementwise(model, expected, reasons) -> None:
    assert_groups(model, expected, reasons)
