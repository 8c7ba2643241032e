"""Normalisations: exact per channel, approximate over channels, frozen where every channel depends on all."""

import numpy as np
import pytest

from tests.builders import build, case, frozen, groups, inexact, positive
from tests.equivalence import assert_groups, assert_removing_is_zeroing

CASES = [
    case(
        "batch norm before and after a residual add (pre-activation)",
        """(float[N,3,5,5] x) => (y) {
          a = Conv(x, wa)
          n = BatchNormalization(a, s1, o1, m1, v1)
          r = Relu(n)
          b = Conv(r, wb)
          t = Add(a, b)
          k = BatchNormalization<epsilon=0.01>(t, s2, o2, m2, v2)
          y = Conv(k, wy)
        }""",
        ["6: m1:0 m2:0 o1:0 o2:0 s1:0 s2:0 v1:0 v2:0 wa:0 wb:0 wb:1 wy:1"],
        **{f"{k}{i}": positive(6) if k in "sv" else (6,) for i in (1, 2) for k in "somv"},
        wa=(6, 3, 1, 1),
        wb=(6, 6, 1, 1),
        wy=(4, 6, 1, 1),
    ),
    case(
        "batch norm of features",
        """(float[N,5] x) => (y) {
          a = Gemm(x, wa)
          n = BatchNormalization(a, s, o, m, v)
          y = Gemm(n, wy)
        }""",
        ["6: m:0 o:0 s:0 v:0 wa:1 wy:0"],
        wa=(5, 6),
        s=positive(6),
        o=(6,),
        m=(6,),
        v=positive(6),
        wy=(6, 4),
    ),
    case(
        "instance norm",
        """(float[N,3,5,5] x) => (y) {
          a = Conv(x, wa)
          n = InstanceNormalization(a, s, o)
          y = Conv(n, wy)
        }""",
        ["6: o:0 s:0 wa:0 wy:1"],
        wa=(6, 3, 1, 1),
        s=positive(6),
        o=(6,),
        wy=(4, 6, 1, 1),
    ),
    case(
        "layer norm over the channels",
        """(float[N,7,5] x) => (y) {
          a = MatMul(x, wa)
          n = LayerNormalization(a, s, o)
          y = MatMul(n, wy)
        }""",
        ["6~: o:0 s:0 wa:1 wy:0"],
        wa=(5, 6),
        s=positive(6),
        o=(6,),
        wy=(6, 4),
    ),
    case(
        "layer norm written out",
        """(float[N,7,5] x) => (y) {
          a = MatMul(x, wa)
          m = ReduceMean(a, last)
          d = Sub(a, m)
          p = Pow(d, two)
          v = ReduceMean(p, last)
          e = Add(v, eps)
          q = Sqrt(e)
          n = Div(d, q)
          t = Mul(n, s)
          u = Add(t, o)
          y = MatMul(u, wy)
        }""",
        ["6~: o:0 s:0 wa:1 wy:0"],
        wa=(5, 6),
        last=[-1],
        two=2.0,
        eps=1e-5,
        s=positive(6),
        o=(6,),
        wy=(6, 4),
    ),
    case(
        "layer norm of channels first, through Transposes (ConvNeXt)",
        """(float[N,3,5,5] x) => (y) {
          a = Conv(x, wa, ba)
          t = Transpose<perm=[0,2,3,1]>(a)
          n = LayerNormalization(t, s)
          h = MatMul(n, wh)
          g = Relu(h)
          k = MatMul(g, wk)
          u = Transpose<perm=[0,3,1,2]>(k)
          v = Add(a, u)
          y = Conv(v, wy)
        }""",
        ["6~: ba:0 s:0 wa:0 wh:0 wk:1 wy:1", "8: wh:1 wk:0"],
        wa=(6, 3, 1, 1),
        ba=(6,),
        s=positive(6),
        wh=(6, 8),
        wk=(8, 6),
        wy=(4, 6, 1, 1),
    ),
    case(
        "group norm of opset 21",
        """(float[N,3,5,5] x) => (float[N,4,5,5] y) {
          a = Conv(x, wa)
          n = GroupNormalization<num_groups=2>(a, s, o)
          y = Conv(n, wy)
        }""",
        ["2: o:0*3 s:0*3 wa:0*3 wy:1*3", "2x3~: o:0*2 s:0*2 wa:0*2 wy:1*2"],
        opset=21,
        ir=10,
        wa=(6, 3, 1, 1),
        s=positive(6),
        o=(6,),
        wy=(4, 6, 1, 1),
    ),
    case(
        "group norm as Reshape, InstanceNormalization, Reshape",
        """(float[N,3,5,5] x) => (y) {
          a = Conv(x, wa)
          r = Reshape(a, apart)
          n = InstanceNormalization(r, ones, zeros)
          sh = Shape(a)
          b = Reshape(n, sh)
          m = Mul(b, s)
          t = Add(m, o)
          y = Conv(t, wy)
        }""",
        ["2: o:0*3 ones:0 s:0*3 wa:0*3 wy:1*3 zeros:0", "3~: o:0*2 s:0*2 wa:0*2 wy:1*2"],
        wa=(6, 3, 1, 1),
        apart=[0, 2, -1],
        ones=np.ones(2, np.float32),
        zeros=np.zeros(2, np.float32),
        s=positive(6, 1, 1),
        o=(6, 1, 1),
        wy=(4, 6, 1, 1),
    ),
    case(
        "L2 norm sees no zeros",
        """(float[N,5] x) => (y) {
          a = Gemm(x, wa)
          n = LpNormalization<axis=1, p=2>(a)
          y = Gemm(n, wy)
        }""",
        ["6: wa:1 wy:0"],
        wa=(5, 6),
        wy=(6, 4),
    ),
    case(
        "L2 norm written out",
        """(float[N,5] x) => (y) {
          a = Gemm(x, wa)
          l = ReduceL2(a, one)
          c = Clip(l, eps)
          n = Div(a, c)
          y = Gemm(n, wy)
        }""",
        ["6: wa:1 wy:0"],
        wa=(5, 6),
        one=[1],
        eps=1e-6,
        wy=(6, 4),
    ),
    case(
        "RMS norm of opset 23",
        """(float[N,7,5] x) => (y) {
          a = MatMul(x, wa)
          n = RMSNormalization(a, s)
          y = MatMul(n, wy)
        }""",
        ["6~: s:0 wa:1 wy:0"],
        opset=23,
        ir=11,
        wa=(5, 6),
        s=positive(6),
        wy=(6, 4),
    ),
    case(
        "skip layer norm with bias, and its sum",
        """(float[N,7,5] x) => (float[N,7,4] y) {
          a = MatMul(x, wa)
          b = MatMul(x, wb)
          n, , , t = com.microsoft.SkipLayerNormalization(a, b, s, o, c)
          u = Add(n, t)
          y = MatMul(u, wy)
        }""",
        ["6~: c:0 o:0 s:0 wa:1 wb:1 wy:0"],
        domains={"com.microsoft": 1},
        wa=(5, 6),
        wb=(5, 6),
        s=positive(6),
        o=(6,),
        c=(6,),
        wy=(6, 4),
    ),
]


@pytest.mark.parametrize(("model", "expected", "reasons"), CASES)
def test_normalization(model, expected, reasons) -> None:
    assert_groups(model, expected, reasons)


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ("r = LayerNormalization(a, s)", "LayerNormalization measures its scale over it"),
        ("r = MeanVarianceNormalization<axes=[1]>(a)", "MeanVarianceNormalization measures its scale over it"),
        ("m = ReduceMean(a, one)  r = Sub(a, m)", "ReduceMean runs over it"),
        ("m = ReduceMax(a, one)  r = Sub(a, m)", "ReduceMax runs over it"),
    ],
)
def test_reason_for_an_approximate_group(nodes, reason) -> None:
    text = f"(float[N,5] x) => (y) {{ a = Gemm(x, wa)  {nodes}  y = Gemm(r, wy) }}"
    more = {"s": positive(6)} if "s)" in nodes else {}
    model = build(text, wa=(5, 6), one=[1], wy=(6, 4), **more)
    assert inexact(model) == {reason}
    assert assert_removing_is_zeroing(model) > 0


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ("r = Softmax<axis=1>(a)", "Softmax runs over it"),
        ("r = LogSoftmax<axis=-1>(a)", "LogSoftmax runs over it"),
        ("r = Hardmax(a)", "Hardmax runs over it"),
        (
            "u = Unsqueeze(a, two)  l = LRN<size=3>(u)  r = Squeeze(l, two)",
            "LRN mixes each channel with its neighbours",
        ),
    ],
)
def test_reason_for_a_frozen_group(nodes, reason) -> None:
    text = f"(float[N,5] x) => (y) {{ a = Gemm(x, wa)  {nodes}  y = Gemm(r, wy) }}"
    model = build(text, wa=(5, 6), two=[2, 3], wy=(6, 4))
    assert groups(model) == []
    assert frozen(model)["wa:1"] == frozen(model)["wy:0"] == reason


def test_softmax_before_opset_13_runs_over_all_later_axes() -> None:
    text = "(float[N,3,4] x) => (y) { a = Conv(x, wa)  s = Softmax<axis=1>(a)  y = Conv(s, wy) }"
    assert frozen(build(text, opset=12, wa=(6, 3, 1), wy=(4, 6, 1)))["wa:0"] == "Softmax runs over it"
    assert (
        frozen(build(text.replace("axis=1", "axis=2"), opset=12, wa=(6, 3, 1), wy=(4, 6, 1)))
        .keys()
        .isdisjoint({"wa:0", "wy:1"})
    )
