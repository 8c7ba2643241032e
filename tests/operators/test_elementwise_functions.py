"""Activations and other functions of one tensor; what happens at zero."""

import numpy as np
import pytest

from tests.builders import build, inexact, random, roles
from tests.equivalence import assert_groups

C = {"w1": (6, 3, 1, 1), "b1": (6,), "w2": (4, 6, 1, 1)}

UNARY = ["Relu", "Sigmoid", "Tanh", "Elu", "Selu", "Celu", "HardSwish", "HardSigmoid", "Softplus", "Softsign", "Mish"]
UNARY += ["Erf", "Exp", "Neg", "Abs", "Sign", "Floor", "Cos", "Sin", "LeakyRelu<alpha=0.2>", "ThresholdedRelu"]
UNARY += ["Identity", "Dropout", "Atan", "Round", "Ceil", "Shrink"]


@pytest.mark.parametrize("operator", UNARY)
def test_activation(operator) -> None:
    text = f"""(float[N,3,5,5] x) => (y) {{
      a = Conv(x, w1, b1)
      r = {operator}(a)
      y = Conv(r, w2)
    }}"""
    assert_groups(build(text, **C), ["6: b1:0 w1:0 w2:1"])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("tanh", ["6: b1:0 w1:0 w2:1"]), ("none", ["6: b1:0 w1:0 w2:1"])],
)
def test_gelu(kind, expected) -> None:
    text = f"""(float[N,3,5,5] x) => (y) {{
      a = Conv(x, w1, b1)
      r = Gelu<approximate="{kind}">(a)
      y = Conv(r, w2)
    }}"""
    assert_groups(build(text, opset=20, ir=9, **C), expected)


def test_gelu_of_an_exporter_with_constants_in_nodes() -> None:
    text = """(float[N,5] x) => (y) {
      a = Gemm(x, w1, b1)
      root = Constant<value_float=1.4142135>()
      one = Constant<value = float[1] {1.0}>()
      half = Constant<value = float {0.5}>()
      d = Div(a, root)
      e = Erf(d)
      p = Add(e, one)
      m = Mul(a, p)
      h = Mul(m, half)
      y = Gemm(h, w2)
    }"""
    assert_groups(build(text, w1=(5, 8), b1=(8,), w2=(8, 4)), ["8: b1:0 w1:1 w2:0"])


@pytest.mark.parametrize("operator", ["Gelu", "FastGelu", "QuickGelu"])
def test_fused_gelu(operator) -> None:
    text = f"""(float[N,5] x) => (float[N,4] y) {{
      a = Gemm(x, w1)
      r = com.microsoft.{operator}(a)
      y = Gemm(r, w2)
    }}"""
    assert_groups(build(text, domains={"com.microsoft": 1}, w1=(5, 8), w2=(8, 4)), ["8: w1:1 w2:0"])


def test_bias_gelu() -> None:
    text = """(float[N,5] x) => (float[N,4] y) {
      a = MatMul(x, w1)
      r = com.microsoft.BiasGelu(a, b1)
      y = MatMul(r, w2)
    }"""
    assert_groups(build(text, domains={"com.microsoft": 1}, w1=(5, 8), b1=(8,), w2=(8, 4)), ["8: b1:0 w1:1 w2:0"])


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ("r = Log(a)", "Log of a channel that becomes zero is not finite"),
        ("r = Reciprocal(a)", "Reciprocal of a channel that becomes zero is not finite"),
        ("r = Div(b, a)", "divides by a channel that becomes zero"),
        ("r = Div(a, n)", "a channel that becomes zero is divided by zero"),
    ],
)
def test_what_is_not_finite_at_zero_is_approximate(nodes, reason) -> None:
    text = f"""(float[N,5] x) => (y) {{
      a = Gemm(x, w1)
      b = Gemm(x, wb)
      {nodes}
      s = Add(r, b)
      y = Gemm(s, w2)
    }}"""
    model = build(text, w1=(5, 6), wb=(5, 6), w2=(6, 4), n=np.zeros(1, np.float32))
    assert inexact(model) == {reason}


def test_scale_of_one_channel_is_not_a_member() -> None:
    text = """(float[N,5] x) => (y) {
      a = Gemm(x, w1)
      m = Mul(a, s)
      y = Gemm(m, w2)
    }"""
    model = build(text, w1=(5, 6), s=np.array([0.7], np.float32), w2=(6, 4))
    assert_groups(model, ["6: w1:1 w2:0"], {"s:0": "has a single channel"})


def test_gate_of_channels_by_a_constant_is_a_pass_through_parameter() -> None:
    model = build(
        "(float[N,5] x) => (y) { a = Gemm(x, w1)  m = Mul(g, a)  y = Gemm(m, w2) }",
        w1=(5, 6),
        g=(6,),
        w2=random((6, 4)),
    )
    assert roles(model) == {"w1:1": "producer", "g:0": "pass-through", "w2:0": "consumer"}
