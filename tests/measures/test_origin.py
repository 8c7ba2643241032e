"""Back from an output to what made it, through operators that only move numbers."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest

from spa_cli.analysis import analyse_model
from spa_cli.graph import guard
from spa_cli.measures.origin import parts
from spa_cli.runtime.load import load
from tests.builders import build

C = {"w": (12, 3, 1, 1), "v": (2, 3, 1, 1)}


def made(text: str, axis: int, domains=None, **weights) -> list[tuple]:
    analysis = analyse_model(load(build(text, domains=domains, **weights)), {})
    found = parts(analysis.graph, analysis.state.shapes, "y", axis)
    return [(p.op, p.size, p.straight) for p in found]


@pytest.mark.parametrize(
    ("body", "axis", "expected"),
    [
        ("c = Conv(x, w)  y = Transpose<perm=[0,2,3,1]>(c)", 3, [("Conv", 12, True)]),
        ("c = Conv(x, w)  y = Reshape(c, s)", 1, [("Conv", 12, True)]),
        ("c = Conv(x, w)  y = Reshape(c, t)", 1, [("Conv", None, True)]),
        ("c = Conv(x, w)  y = Sigmoid(c)", 1, [("Sigmoid", 12, True)]),
        ("c = Conv(x, w)  r = Sigmoid(c)  y = Mul(r, k)", 1, [("Sigmoid", 12, False)]),
        ("c = Conv(x, w)  y = Add(c, k)", 1, [("Conv", 12, True)]),
        ("c = Conv(x, w)  d = Mul(c, k)  y = Add(d, k)", 1, [("Conv", 12, False)]),
        (
            "c = Conv(x, w)  e = Conv(x, v)  f = Sigmoid(e)  y = Concat<axis=1>(c, f)",
            1,
            [("Conv", 12, True), ("Sigmoid", 2, True)],
        ),
        ("c = Conv(x, w)  f = Sigmoid(c)  y = Concat<axis=2>(c, f)", 1, [("Conv and Sigmoid", 12, True)]),
        (
            "c = Conv(x, w)  e = Conv(x, v)  f = Sigmoid(e)  g = Concat<axis=1>(f, c)  y, z = Split<axis=1>(g, p)",
            1,
            [("Sigmoid", 2, True), ("Conv", 1, True)],
        ),
        ("c = Conv(x, w)  y = Slice(c, one, five, one)", 1, [("Conv", 4, True)]),
        ("c = Conv(x, w)  y = Slice(c, one, five, two)", 1, [("Conv", 12, True)]),
        ("c = Conv(x, w)  r = Sqrt(c)  y = Div(x, r)", 1, [("Div", 12, True)]),
    ],
)
def test_what_made_an_axis(body, axis, expected) -> None:
    weights = {
        **C,
        "s": [1, 12, 16],
        "t": [1, 192],
        "k": np.full((12, 1, 1), 2.0, np.float32),
        "p": [3, 11],
        "one": [1],
        "two": [2],
        "five": [5 if "one)" in body else 3],
    }
    used = {n: v for n, v in weights.items() if n in body.replace("(", " ").replace(")", " ").replace(",", " ").split()}
    outputs = "y, z" if "z = Split" in body or "y, z" in body else "y"
    width = 12 if body.endswith("Div(x, r)") else 3
    if width == 12:
        used = {"w": (12, 12, 1, 1)}
    text = f"(float[1,{width},4,4] x) => ({outputs}) {{ {body} }}"
    assert made(text, axis, **used) == expected


@pytest.mark.parametrize(
    ("body", "op"),
    [
        ("n = ReduceL2<keepdims=1>(h, a)  y = Div(h, n)", "division by its length"),
        ("q = Mul(h, h)  u = ReduceSum<keepdims=1>(q, a)  n = Sqrt(u)  y = Div(h, n)", "division by its length"),
        (
            "q = Mul(h, h)  u = ReduceMean<keepdims=1>(q, a)  n = Sqrt(u)  i = Reciprocal(n)  y = Mul(h, i)",
            "a normalisation",
        ),
        (
            "m = ReduceMean<keepdims=1>(h, a)  d = Sub(h, m)  q = Mul(d, d)  u = ReduceMean<keepdims=1>(q, a)"
            "  n = Sqrt(u)  e = Div(d, n)  g = Mul(e, gamma)  y = Add(g, beta)",
            "a normalisation",
        ),
        ("g = Sigmoid(h)  y = Mul(h, g)", "Mul"),
    ],
)
def test_vectors_that_were_normalised(body, op) -> None:
    weights = {"w": (6, 16), "a": [-1], "gamma": (16,), "beta": (16,)}
    used = {n: v for n, v in weights.items() if n == "w" or f" {n})" in body}
    assert made(f"(float[N,6] x) => (y) {{ h = MatMul(x, w)  {body} }}", 1, **used) == [(op, 16, True)]


def test_scales_beside_integers_are_those_of_the_layer() -> None:
    text = """(float[2,6] x) => (y) {
      q, s, z = DynamicQuantizeLinear(x)  m = MatMulInteger(q, w, z)  f = Cast<to=1>(m)
      c = Mul(s, k)  y = Mul(f, c) }"""
    weights = {"w": np.ones((6, 4), np.int8), "k": 0.1}
    assert made(text, 1, **weights) == [("MatMulInteger", 4, True)]


@pytest.mark.parametrize(
    ("node", "op"),
    [
        ("y = Transpose<perm=[0]>(c)", "Transpose"),
        ("y = Reshape()", "Reshape"),
        ("y = Slice()", "Slice"),
        ("y = Gather(c)", "Gather"),
        ("y = Cast()", "Cast"),
    ],
)
def test_what_is_not_what_its_operator_is_made_it(node, op, monkeypatch) -> None:
    """No rule of ours fails on a node that a file got wrong."""
    monkeypatch.setattr(guard, "STRICT", False)
    model = build("(float[1,3,4,4] x) => (float[1,12,4,4] y) { c = Conv(x, w)  y = Relu(c) }", w=C["w"])
    analysis = analyse_model(load(model), {})
    odd = onnx.parser.parse_graph(f"g (float[1,3,4,4] x) => (float[1,12,4,4] y) {{ c = Conv(x, w) {node} }}").node[1]
    attrs = {a.name: onnx.helper.get_attribute_value(a) for a in odd.attribute}
    producers = analysis.graph.producers
    producers["y"] = dataclasses.replace(producers["y"], op=op, inputs=tuple(odd.input), attrs=attrs, proto=odd)
    assert [p.op for p in parts(analysis.graph, analysis.state.shapes, "y", 3)] == [op]
