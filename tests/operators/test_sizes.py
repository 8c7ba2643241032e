"""Sizes that are computed from sizes: arithmetic on the channel count, and on the batch."""

import numpy as np
import pytest

from spa_cli.errors import CutError
from tests.builders import build, case
from tests.equivalence import assert_groups

BIG = [9223372036854775807]

CASES = [
    case(
        "batch and channels merged, a filter over each plane, and back",
        """(float[N,3,5,5] x) => (y) {
          a = Conv(x, wa)
          r = Reshape(a, planes)
          b = Conv<pads=[1,1,1,1]>(r, blur)
          q = Reshape(b, image)
          y = Conv(q, wy)
        }""",
        ["6: wa:0 wy:1"],
        wa=(6, 3, 1, 1),
        planes=[-1, 1, 5, 5],
        blur=(1, 1, 3, 3),
        image=[-1, 6, 5, 5],
        wy=(4, 6, 1, 1),
    ),
    case(
        "batch times heads computed (PyTorch MultiheadAttention, free batch)",
        """(float[7,N,6] x) => (y) {
          s = Shape(x)
          n = Gather(s, one)
          nh = Mul(n, two)
          apart = Concat<axis=0>(seven, nh, four)
          together = Concat<axis=0>(seven, n, eight)
          q0 = MatMul(x, wq)
          v0 = MatMul(x, wv)
          q1 = Reshape(q0, apart)
          v1 = Reshape(v0, apart)
          q = Transpose<perm=[1,0,2]>(q1)
          k = Transpose<perm=[1,2,0]>(q1)
          v = Transpose<perm=[1,0,2]>(v1)
          m = MatMul(q, k)
          p = Softmax(m)
          o = MatMul(p, v)
          u = Transpose<perm=[1,0,2]>(o)
          f = Reshape(u, together)
          y = MatMul(f, wo)
        }""",
        ["2: wo:0*4 wq:1*4 wv:1*4", "2x4: wo:0*2 wv:1*2", "2x4: wq:1*2"],
        wq=(6, 8),
        wv=(6, 8),
        wo=(8, 4),
        one=[1],
        two=[2],
        four=[4],
        seven=[7],
        eight=[8],
    ),
    case(
        "flat size computed as channels times space",
        """(float[N,3,5,5] x) => (y) {
          a = Conv(x, wa)
          s = Shape(a)
          n = Gather(s, zero)
          rest = Slice(s, one, big, zero)
          p = ReduceProd<keepdims=1>(rest, zero)
          z = Concat<axis=0>(n, p)
          f = Reshape(a, z)
          y = MatMul(f, wy)
        }""",
        ["6: wa:0 wy:0*25"],
        wa=(6, 3, 1, 1),
        zero=[0],
        one=[1],
        big=BIG,
        wy=(150, 4),
    ),
    case(
        "groups of channels computed by division",
        """(float[N,3,5,5] x) => (y) {
          a = Conv(x, wa)
          s = Shape(a)
          n = Gather(s, zero)
          c = Gather(s, one)
          h = Div(c, two)
          z = Concat<axis=0>(n, two, h, space)
          r = Reshape(a, z)
          v = Relu(r)
          t = Transpose<perm=[0,2,1,3,4]>(v)
          z2 = Concat<axis=0>(n, c, space)
          f = Reshape(t, z2)
          y = Conv(f, wy)
        }""",
        ["2: wa:0*3 wy:1*3", "3: wa:0*2 wy:1*2"],
        wa=(6, 3, 1, 1),
        zero=[0],
        one=[1],
        two=[2],
        space=[5, 5],
        wy=(4, 6, 1, 1),
    ),
    case(
        "uneven Split by num_outputs",
        """(float[N,3,5,5] x) => (y) {
          a = Conv(x, wa)
          p, q, r = Split<axis=1, num_outputs=3>(a)
          s = Add(p, q)
          b = Conv(r, wb)
          t = Add(s, b)
          y = Conv(t, wy)
        }""",
        ["3: wa:0*2 wb:0 wy:1", "2: wa:0 wb:1"],
        wa=(8, 3, 1, 1),
        wb=(3, 2, 1, 1),
        wy=(4, 3, 1, 1),
    ),
    case(
        "a number that scales, by CastLike",
        """(float[N,T,6] x) => (y) {
          q = MatMul(x, wq)
          k = MatMul(x, wk)
          t = Transpose<perm=[0,2,1]>(k)
          s = Shape(q)
          d = Gather(s, last)
          f = CastLike(d, q)
          r = Sqrt(f)
          m = MatMul(q, t)
          z = Div(m, r)
          y = Softmax(z)
        }""",
        ["8: wk:1 wq:1"],
        wq=(6, 8),
        wk=(6, 8),
        last=-1,
    ),
    case(
        "a mean written as a sum divided by the number of channels",
        """(float[N,6] x) => (y) {
          a = MatMul(x, wa)
          m = ReduceSum(a, one)
          s = Shape(a)
          c = Gather(s, one)
          f = Cast<to=1>(c)
          d = Div(m, f)
          y = MatMul(d, wy)
        }""",
        ["8: wa:1"],
        wa=(6, 8),
        one=[1],
        wy=(1, 4),
    ),
    case(
        "a vector as a weight",
        """(float[N,T,6] x) => (y) {
          a = MatMul(x, wa)
          y = MatMul(a, v)
        }""",
        ["8: v:0 wa:1"],
        wa=(6, 8),
        v=(8,),
    ),
    case(
        "two grouped convolutions of different groups",
        """(float[N,3,5,5] x) => (y) {
          a = Conv(x, wa)
          b = Conv<group=2>(a, wb)
          c = Conv<group=4>(b, wc)
          f = Flatten(c)
          y = Gemm(f, wy)
        }""",
        [
            "2: wa:0*4 wb:0*4 wc:0*4 wy:0*100",
            "2: wb:0*4 wc:0*4 wy:0*100",
            "2: wb:0*4 wc:1",
            "2: wc:0*4 wy:0*100",
            "2x4: wa:0*2 wb:1",
        ],
        wa=(8, 3, 1, 1),
        wb=(8, 4, 1, 1),
        wc=(8, 2, 1, 1),
        wy=(200, 4),
    ),
    case(
        "max pooling with indices, and unpooling",
        """(float[N,3,4,4] x) => (y) {
          a = Conv(x, wa)
          p, i = MaxPool<kernel_shape=[2,2], strides=[2,2]>(a)
          b = Relu(p)
          u = MaxUnpool<kernel_shape=[2,2], strides=[2,2]>(b, i)
          y = Conv(u, wy)
        }""",
        ["6: wa:0 wy:1"],
        wa=(6, 3, 1, 1),
        wy=(4, 6, 1, 1),
    ),
    *(
        case(
            f"unpooling to the size before, {how}",
            f"""(float[{batch},3,5,5] x) => (y) {{
              a = Conv(x, wa)
              p, i = MaxPool<kernel_shape=[2,2], strides=[2,2]>(a)
              b = Relu(p)
              {text}
              u = MaxUnpool<kernel_shape=[2,2], strides=[2,2]>(b, i, size)
              y = Conv(u, wy)
            }}""",
            ["6: wa:0 wy:1"],
            wa=(6, 3, 1, 1),
            wy=(4, 6, 1, 1),
            **more,
        )
        for how, batch, text, more in [
            ("as it is", "N", "size = Shape(a)", {}),
            (
                "its channels a number",
                "N",
                "s = Shape(x)\n n = Gather(s, zero)\n size = Concat<axis=0>(n, rest)",
                {"zero": [0], "rest": [6, 5, 5]},
            ),
            ("all of it numbers", "2", "", {"size": [2, 6, 5, 5]}),
        ]
    ),
    case(
        "a constant mask per channel",
        """(float[N,6] x) => (y) {
          a = MatMul(x, wa)
          m = Where(mask, a, zero)
          y = MatMul(m, wy)
        }""",
        ["8: wa:1 wy:0"],
        wa=(6, 8),
        mask=np.arange(8) % 3 > 0,
        zero=0.0,
        wy=(8, 4),
    ),
    case(
        "Einsum of three factors, without an arrow, transposed",
        """(float[N,6] x) => (y) {
          a = Einsum<equation="ai,ij,jk">(x, wa, wb)
          y = Einsum<equation="nk,ok->no">(a, wy)
        }""",
        ["8: wa:1 wb:0", "5: wb:1 wy:1"],
        wa=(6, 8),
        wb=(8, 5),
        wy=(4, 5),
    ),
    case(
        "the channel count as an index: the last channel",
        """(float[N,6] x) => (y) {
          a = MatMul(x, wa)
          s = Shape(a)
          c = Gather(s, one)
          l = Sub(c, one)
          g = Gather<axis=1>(a, l)
          u = Unsqueeze(g, axis)
          b = Add(a, u)
          y = MatMul(b, wy)
        }""",
        ["7: wa:1 wy:0"],
        wa=(6, 8),
        one=1,
        axis=[1],
        wy=(8, 4),
    ),
]


@pytest.mark.parametrize(("model", "expected", "reasons"), CASES)
def test_sizes(model, expected, reasons) -> None:
    assert_groups(model, expected, reasons)


def test_a_shape_read_inside_a_body_keeps_its_values() -> None:
    model = build(
        """(float[N,6] x, float[N,8] z, bool flag) => (y, float[N,8] e) {
          a = MatMul(x, wa)
          s = Shape(a)
          e = If (flag) <
            then_branch = then () => (float[N,8] t) { t = Reshape(z, s) },
            else_branch = other () => (float[N,8] o) { o = Neg(z) }
          >
          y = MatMul(a, wy)
        }""",
        wa=(6, 8),
        wy=(8, 4),
    )
    assert_groups(model, ["8: wa:1 wy:0"])


def test_a_shape_that_a_body_gives_can_not_change() -> None:
    model = build(
        """(float[N,6] x, bool flag) => (y, int64[2] e) {
          a = MatMul(x, wa)
          e = If (flag) <
            then_branch = then () => (int64[2] t) { t = Shape(a) },
            else_branch = other () => (int64[2] o) { o = Identity(two) }
          >
          y = MatMul(a, wy)
        }""",
        wa=(6, 8),
        wy=(8, 4),
        two=[1, 2],
    )
    with pytest.raises(CutError, match="the size 't', which a body gives, would change"):
        assert_groups(model, ["8: wa:1 wy:0"])


def test_a_shape_read_by_an_operator_without_a_rule_keeps_its_values() -> None:
    model = build(
        """(float[N,6] x) => (y, int64[2] e) {
          a = MatMul(x, wa)
          s = Shape(a)
          l = SequenceConstruct(s)
          e = SequenceAt(l, zero)
          y = MatMul(a, wy)
        }""",
        wa=(6, 8),
        wy=(8, 4),
        zero=0,
    )
    assert_groups(model, ["8: wa:1 wy:0"])
