"""Reductions, and operators that order, count or accumulate along an axis."""

import numpy as np
import pytest

from tests.builders import build, case, frozen, groups, inexact
from tests.equivalence import assert_groups, assert_removing_is_zeroing

CASES = [
    *(
        case(
            f"{op} of channels that become zero is exact",
            f"""(float[N,5] x) => (y) {{
              a = Gemm(x, wa, ba)
              s = {op}(a, one)
              m = Mul(a, s)
              y = Gemm(m, wy)
            }}""",
            ["6: ba:0 wa:1 wy:0"],
            wa=(5, 6),
            ba=(6,),
            one=[1],
            wy=(6, 4),
        )
        for op in ("ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare")
    ),
    case(
        "a sum after an activation that is not zero at zero is approximate",
        """(float[N,5] x) => (y) {
          a = Gemm(x, wa)
          g = Sigmoid(a)
          s = ReduceSum(g, one)
          m = Mul(a, s)
          y = Gemm(m, wy)
        }""",
        ["6~: wa:1 wy:0"],
        wa=(5, 6),
        one=[1],
        wy=(6, 4),
    ),
    case(
        "mean over space, opset 11 attribute",
        """(float[N,3,4,4] x) => (y) {
          a = Conv(x, wa)
          m = ReduceMean<axes=[-1,-2], keepdims=0>(a)
          y = Gemm(m, wy)
        }""",
        ["6: wa:0 wy:0"],
        opset=11,
        wa=(6, 3, 1, 1),
        wy=(6, 4),
    ),
    case(
        "max over the sequence",
        """(float[N,T,5] x) => (y) {
          a = MatMul(x, wa)
          m = ReduceMax<keepdims=0>(a, one)
          y = Gemm(m, wy)
        }""",
        ["6: wa:1 wy:0"],
        wa=(5, 6),
        one=[1],
        wy=(6, 4),
    ),
    case(
        "sum over the sequence accumulated along it",
        """(float[N,T,5] x) => (y) {
          a = MatMul(x, wa)
          c = CumSum(a, axis)
          y = MatMul(c, wy)
        }""",
        ["6: wa:1 wy:0"],
        wa=(5, 6),
        axis=1,
        wy=(6, 4),
    ),
    case(
        "causal mask by Trilu",
        """(float[N,T,5] x) => (y) {
          a = MatMul(x, wa)
          b = MatMul(x, wb)
          t = Transpose<perm=[0,2,1]>(b)
          s = MatMul(a, t)
          l = Trilu<upper=0>(s)
          v = MatMul(x, wv)
          o = MatMul(l, v)
          y = MatMul(o, wy)
        }""",
        ["6: wa:1 wb:1", "8: wv:1 wy:0"],
        wa=(5, 6),
        wb=(5, 6),
        wv=(5, 8),
        wy=(8, 4),
    ),
]


@pytest.mark.parametrize(("model", "expected", "reasons"), CASES)
def test_reduction(model, expected, reasons) -> None:
    assert_groups(model, expected, reasons)


FREEZING = {
    "ArgMax": ("k = ArgMax<axis=1>(a)  f = Cast<to=1>(k)  r = Mul(a, f)", "ArgMax counts positions along it"),
    "ArgMin": ("k = ArgMin<axis=-1>(a)  f = Cast<to=1>(k)  r = Mul(a, f)", "ArgMin counts positions along it"),
    "TopK": ("v, i = TopK<axis=1>(a, six)  r = Identity(v)", "TopK picks along it"),
    "CumSum": ("r = CumSum(a, one)", "CumSum runs along it"),
    "ReduceProd": ("p = ReduceProd(a, ones)  r = Mul(a, p)", "ReduceProd runs over it"),
    "ReduceLogSumExp": ("p = ReduceLogSumExp(a, ones)  r = Mul(a, p)", "ReduceLogSumExp runs over it"),
    "Compress": ("r = Compress<axis=1>(a, mask)", "Compress picks along it by value"),
}


@pytest.mark.parametrize(("nodes", "reason"), FREEZING.values(), ids=FREEZING)
def test_frozen_with_a_reason(nodes, reason) -> None:
    available = {"six": [6], "one": 1, "ones": [1], "mask": np.ones(6, bool)}
    used = {k: v for k, v in available.items() if f" {k})" in nodes}
    text = f"(float[N,5] x) => (float[N,4] y) {{ a = Gemm(x, wa)  {nodes}  y = Gemm(r, wy) }}"
    model = build(text, wa=(5, 6), wy=(6, 4), **used)
    assert groups(model) == []
    assert frozen(model)["wa:1"] == reason


@pytest.mark.parametrize("operator", ["ReduceMean", "ReduceMax", "ReduceMin"])
def test_means_and_extremes_over_channels_are_approximate(operator) -> None:
    text = f"(float[N,5] x) => (y) {{ a = Gemm(x, wa)  s = {operator}(a, one)  m = Sub(a, s)  y = Gemm(m, wy) }}"
    model = build(text, wa=(5, 6), one=[1], wy=(6, 4))
    assert inexact(model) == {f"{operator} runs over it"}
    assert assert_removing_is_zeroing(model) == 2


def test_reducing_everything() -> None:
    text = "(float[N,5] x) => (y) { a = Gemm(x, wa)  y = ReduceSum<keepdims=0>(a) }"
    assert_groups(build(text, wa=(5, 6)), ["6: wa:1"])
