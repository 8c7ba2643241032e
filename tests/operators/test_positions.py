"""Slice, Pad and Gather by constants, and bounds that the graph computes."""

import numpy as np
import pytest

from tests.builders import case
from tests.equivalence import assert_groups

CASES = [
    case(
        "option-A shortcut: strided slice of space, channel Pad",
        """(float[N,3,8,8] x) => (y) {
          a = Conv(x, wa)
          b = Conv<strides=[2,2], kernel_shape=[1,1]>(a, wb)
          n = BatchNormalization(b, s, o, m, v)
          k = Slice(a, zeros, ends, axes, twos)
          p = Pad(k, pads)
          t = Add(n, p)
          r = Relu(t)
          y = Conv(r, wy)
        }""",
        [
            "4: m:0 o:0 s:0 v:0 wa:0 wb:0 wb:1 wy:1",
            "4: m:0 o:0 s:0 v:0 wb:0 wy:1",
        ],
        wa=(4, 3, 1, 1),
        wb=(8, 4, 1, 1),
        s=(8,),
        o=(8,),
        m=(8,),
        v=1 + np.arange(8, dtype=np.float32) / 8,
        zeros=[0, 0],
        ends=[9223372036854775807, 9223372036854775807],
        axes=[2, 3],
        twos=[2, 2],
        pads=[0, 2, 0, 0, 0, 2, 0, 0],
        wy=(4, 8, 1, 1),
    ),
    case(
        "BlazeFace: pooled shortcut padded at the end",
        """(float[N,3,8,8] x) => (y) {
          a = Conv(x, wa)
          b = Conv<strides=[2,2]>(a, wb)
          k = MaxPool<kernel_shape=[2,2], strides=[2,2]>(a)
          p = Pad(k, pads)
          t = Add(b, p)
          y = Conv(t, wy)
        }""",
        ["4: wa:0 wb:0 wb:1 wy:1", "3: wb:0 wy:1"],
        wa=(4, 3, 1, 1),
        wb=(7, 4, 1, 1),
        pads=[0, 0, 0, 0, 0, 3, 0, 0],
        wy=(4, 7, 1, 1),
    ),
    case(
        "Pad by an attribute, opset 10",
        """(float[N,3,8,8] x) => (y) {
          a = Conv(x, wa)
          b = Conv(a, wb)
          p = Pad<pads=[0,1,0,0,0,2,0,0]>(a)
          t = Add(b, p)
          y = Conv(t, wy)
        }""",
        ["4: wa:0 wb:0 wb:1 wy:1", "3: wb:0 wy:1"],
        opset=10,
        wa=(4, 3, 1, 1),
        wb=(7, 4, 1, 1),
        wy=(4, 7, 1, 1),
    ),
    case(
        "Pad of given axes",
        """(float[N,3,8,8] x) => (y) {
          a = Conv(x, wa)
          p = Pad(a, pads, , axes)
          b = Conv<pads=[0,0,0,0]>(p, wb)
          y = Conv(b, wy)
        }""",
        ["4: wa:0 wb:1", "5: wb:0 wy:1"],
        wa=(4, 3, 1, 1),
        pads=[1, 2, 1, 0],
        axes=[-1, 2],
        wb=(5, 4, 3, 3),
        wy=(4, 5, 1, 1),
    ),
    case(
        "reflection padding of space",
        """(float[N,3,8,8] x) => (y) {
          a = Conv(x, wa)
          p = Pad<mode="reflect">(a, pads)
          y = Conv(p, wy)
        }""",
        ["4: wa:0 wy:1"],
        wa=(4, 3, 1, 1),
        pads=[0, 0, 1, 1, 0, 0, 1, 1],
        wy=(5, 4, 3, 3),
    ),
    case(
        "padding channels with ones is cut exactly",
        """(float[N,3,8,8] x) => (y) {
          a = Conv(x, wa)
          p = Pad(a, pads, one)
          y = Conv(p, wy)
        }""",
        ["4: wa:0 wy:1", "2: wy:1"],
        wa=(4, 3, 1, 1),
        pads=[0, 0, 0, 0, 0, 2, 0, 0],
        one=1.0,
        wy=(5, 6, 1, 1),
    ),
    case(
        "negative padding crops channels",
        """(float[N,3,8,8] x) => (y) {
          a = Conv(x, wa)
          p = Pad(a, pads)
          b = Conv(p, wb)
          c = Conv(a, wc)
          t = Add(b, c)
          y = Conv(t, wy)
        }""",
        ["3: wa:0 wc:1", "5: wa:0 wb:1 wc:1", "3: wb:0 wc:0 wy:1"],
        wa=(8, 3, 1, 1),
        pads=[0, -1, 0, 0, 0, -2, 0, 0],
        wb=(3, 5, 1, 1),
        wc=(3, 8, 1, 1),
        wy=(5, 3, 1, 1),
    ),
    case(
        "Gather of channels by a constant permutation",
        """(float[N,3,4,4] x) => (y) {
          a = Conv(x, wa)
          g = Gather<axis=1>(a, order)
          t = Add(a, g)
          y = Conv(t, wy)
        }""",
        ["2: wa:0*2 wy:1*2", "2: wa:0 wy:1"],
        wa=(6, 3, 1, 1),
        order=[3, 1, 5, 0, 4, 2],
        wy=(4, 6, 1, 1),
    ),
    case(
        "Gather of some channels, negative and twice",
        """(float[N,3,4,4] x) => (y) {
          a = Conv(x, wa)
          g = Gather<axis=1>(a, some)
          c = Concat<axis=1>(g, a)
          y = Conv(c, wy)
        }""",
        ["1: wa:0 wy:1*2", "1: wa:0 wy:1*3", "4: wa:0 wy:1"],
        wa=(6, 3, 1, 1),
        some=[-1, 2, -1],
        wy=(4, 9, 1, 1),
    ),
    case(
        "Gather of one channel by a scalar keeps it",
        """(float[N,3,4,4] x) => (y) {
          a = Conv(x, wa)
          g = Gather<axis=1>(a, two)
          u = Unsqueeze(g, one)
          t = Mul(a, u)
          y = Conv(t, wy)
        }""",
        ["5: wa:0 wy:1"],
        wa=(6, 3, 1, 1),
        two=2,
        one=[1],
        wy=(4, 6, 1, 1),
    ),
    case(
        "class token: first of the sequence by a scalar",
        """(float[1,7,5] x) => (y) {
          a = MatMul(x, wa)
          t = Expand(token, shape)
          c = Concat<axis=1>(t, a)
          p = Add(c, positions)
          g = Gather<axis=1>(p, zero)
          y = Gemm(g, wy)
        }""",
        ["6: positions:2 token:2 wa:1 wy:0"],
        wa=(5, 6),
        token=(1, 1, 6),
        shape=[1, 1, 6],
        positions=(1, 8, 6),
        zero=0,
        wy=(6, 4),
    ),
    case(
        "embedding: the vocabulary stays",
        """(int64[N,7] ids) => (y) {
          a = Gather(table, ids)
          y = MatMul(a, wy)
        }""",
        ["6: table:1 wy:0"],
        {"table:0": "is looked up by data-dependent indices"},
        table=(9, 6),
        wy=(6, 4),
    ),
]


@pytest.mark.parametrize(("model", "expected", "reasons"), CASES)
def test_positions(model, expected, reasons) -> None:
    assert_groups(model, expected, reasons)
