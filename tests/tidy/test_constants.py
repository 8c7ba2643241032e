"""What only constants decide."""

import numpy as np
import pytest
from onnx import numpy_helper

from spa_cli.graph.source import Source
from spa_cli.runtime.load import load
from spa_cli.tidy.steps import tidied
from tests.builders import build
from tests.tidy.same import left, tidy, weights

VERBOSE = """(float[N,3,6,6] x) => (float[N,4,6,6] y) {
  size = Shape<start=0, end=1>(w)
  one = Constant<value_ints=[1]>()
  many = Expand(size, one)
  zero = Constant<value_float=0.0>()
  like = CastLike(zero, x)
  bias = Expand(like, many)
  y = Conv<pads=[1,1,1,1]>(x, w, bias)
}"""


def test_a_bias_that_an_exporter_works_out() -> None:
    small = tidy(build(VERBOSE, w=(4, 3, 3, 3)))
    assert left(small) == {"Conv": 1}
    assert weights(small) == {"w", "bias"}


@pytest.mark.parametrize(
    ("text", "opset", "given"),
    [
        ("s = Shape(x)", 18, {}),
        ("f = Shape(x)\n s = Gather(f, at)", 18, {"at": [1, -1]}),
        ("f = Shape(x)\n s = Slice(f, one, three)", 18, {"one": [1], "three": [3]}),
        (
            "f = Shape(x)\n s = Slice(f, one, most, ax, two)",
            18,
            {"one": [1], "most": [2**63 - 1], "ax": [0], "two": [1]},
        ),
        ("f = Shape(x)\n s = Slice<starts=[1], ends=[3]>(f)", 9, {}),
        ("s = Shape<start=1>(x)", 18, {}),
    ],
)
def test_sizes_that_no_input_changes(text, opset, given) -> None:
    free = "N" if text != "s = Shape(x)" else "2"
    model = build(
        f"(float[{free},3,4] x) => (float[{free},3,4] y, int64[k] z) {{ {text}\n z = Neg(s)\n y = Relu(x) }}",
        opset,
        **given,
    )
    # an output's last node stays
    assert left(tidy(model, ["constants", "unused"])) == {"Relu": 1, "Neg": 1}


@pytest.mark.parametrize(
    "text", ["s = Shape(x)", "f = Shape(x)\n s = Gather(f, at)", "f = Shape(x)\n s = Slice(f, at, most)"]
)
def test_sizes_that_inputs_change_stay(text) -> None:
    given = {name: [value] for name, value in (("at", 0), ("most", 3)) if name in text}
    model = build(f"(float[N,3,4] x) => (int64[k] y) {{ {text}\n t = Neg(s)\n y = Abs(t) }}", **given)
    assert len(tidy(model, ["constants", "unused"]).graph.node) == len(model.graph.node)


def test_values_that_are_large_are_left_to_be_worked_out() -> None:
    text = """(float[N,200,200] x) => (y) {
      m = ConstantOfShape(shape)
      n = Neg(m)
      s = Shape(m)
      e = Expand(x, s)
      y = Sub(e, n)
    }"""
    small = tidy(build(text, shape=[1, 200, 200]), ["constants", "unused"])
    assert left(small) == {"ConstantOfShape": 1, "Neg": 1, "Expand": 1, "Sub": 1}


def test_a_value_takes_the_place_of_what_nobody_reads_any_more() -> None:
    text = """(float[N,60] x) => (y) {
      t = Transpose(w)
      a = MatMul(x, t)
      u = Transpose(v)
      b = MatMul(a, u)
      c = MatMul(b, v)
      y = Relu(c)
    }"""
    small = tidy(build(text, w=(50, 60), v=(40, 50)), ["constants", "unused"])
    # v is read once more: its transposed would be stored beside it
    assert weights(small) == {"t", "v"} and left(small)["Transpose"] == 1


@pytest.mark.parametrize("node", ["RandomNormalLike(w)", "RandomUniformLike(w)", "Bernoulli(w)"])
def test_what_draws_at_random_stays(node) -> None:
    model = build(f"(float[N,4] x) => (y) {{ r = {node}\n y = Add(x, r) }}", w=np.full(4, 0.5, np.float32))
    assert len(tidied(load(model)).model.graph.node) == 2


def test_what_is_quantised_stays() -> None:
    text = "(float[N,4] x) => (y) { d = DequantizeLinear(w, s)\n y = MatMul(x, d) }"
    model = build(text, w=np.ones((4, 3), np.int8), s=np.array(0.1, np.float32))
    assert left(tidy(model)) == {"DequantizeLinear": 1, "MatMul": 1}


def test_outputs_and_bodies_keep_what_they_read() -> None:
    text = """(bool c, float[4] x) => (float[4] y, float[4] z) {
      k = Neg(w)
      z = Abs(k)
      y = If (c) <
        then_branch = t () => (float[4] o) { o = Add(k, x) },
        else_branch = e () => (float[4] p) { p = Sub(x, k) }
      >
    }"""
    small = tidy(build(text, w=(4,)))
    assert left(small) == {"Abs": 1, "If": 1}
    (k,) = (t for t in small.graph.initializer if t.name == "k")
    assert numpy_helper.to_array(k).shape == (4,)


def test_one_that_does_not_run_does_not_keep_the_others() -> None:
    text = "(float[N,4] x) => (y) { a = Neg(w)\n b = Add(x, a)\n r = Reshape(w, bad)\n y = Add(b, a) }"
    model = build(text, w=(4,), bad=[4])
    model.graph.initializer[-1].CopyFrom(numpy_helper.from_array(np.array([3], np.int64), "bad"))
    small = tidied(Source(model, "m"), ["constants"]).model
    assert "Neg" not in left(small)


def test_weights_that_are_kept_narrow_stay_so() -> None:
    text = "(float[N,6] x) => (y) { f = Cast<to=1>(w)\n y = MatMul(x, f) }"
    assert left(tidy(build(text, w=np.ones((6, 6), np.float16)))) == {"Cast": 1, "MatMul": 1}
    text = "(float16[N,6] x) => (y) { f = Cast<to=10>(w)\n y = MatMul(x, f) }"
    assert left(tidy(build(text, w=np.ones((6, 6), np.float32)))) == {"MatMul": 1}


def test_what_takes_terabytes_on_the_way_is_left() -> None:
    text = """(float[N,8] x) => (float[N,8] y) {
      block = ConstantOfShape(big)
      most = ReduceMax<keepdims=0>(block)
      y = Add(x, most)
    }"""
    assert left(tidied(load(build(text, big=[1 << 10]))).model) == {"Add": 1}
    assert left(tidied(load(build(text, big=[1 << 20, 1 << 20]))).model) == {
        "ConstantOfShape": 1,
        "ReduceMax": 1,
        "Add": 1,
    }
