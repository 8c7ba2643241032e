"""Nodes that give what they are given."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from spa_cli.runtime.load import load
from spa_cli.tidy.steps import tidied
from tests.builders import build
from tests.tidy.same import left, tidy

OFF = np.array(False)
HALF = np.array(0.5, np.float32)
CASES = [
    ("Identity(a)", 18, {}),
    ("Dropout(a)", 18, {}),
    ("Dropout(a)", 7, {}),
    ("Dropout<ratio=0.3>(a)", 10, {}),
    ("Dropout(a, half, off)", 18, {"half": HALF, "off": OFF}),
    ("Cast<to=1>(a)", 13, {}),
    ("CastLike(a, x)", 18, {}),
    ("Cast<to=1>(d)", 18, {}),
    ("Transpose<perm=[0,1]>(a)", 18, {}),
    ("Pad(a, pads)", 18, {"pads": [0, 0, 0, 0]}),
    ("Pad<pads=[0,0,0,0]>(a)", 9, {}),
    ("Flatten(a)", 18, {}),
    ("Concat<axis=0>(a)", 18, {}),
    ("Sum(a)", 18, {}),
    ("Slice(a, zero, most, one)", 18, {"zero": [0], "most": [2**63 - 1], "one": [1]}),
    ("Reshape(a, shape)", 18, {"shape": [4, -1]}),
    ("Expand(a, shape)", 18, {"shape": [1, 5]}),
]
BUSY = [
    ("Dropout(a, half, on)", 18, {"half": HALF, "on": np.array(True)}),
    ("Pad(a, pads)", 18, {"pads": [0, 0, 0, 1]}),
    ("Flatten<axis=0>(a)", 18, {}),
    ("Slice(a, zero, most, zero, two)", 18, {"zero": [0], "most": [2**63 - 1], "two": [2]}),
    ("Slice(a, zero, two)", 18, {"zero": [0], "two": [2]}),
    ("Transpose(a)", 18, {}),
    ("Concat<axis=0>(a, a)", 18, {}),
]


def model_of(text, opset, weights, size="4") -> onnx.ModelProto:
    body = f"(float[{size},5] x) => (y) {{ a = Relu(x)\n d = Cast<to=11>(a)\n i = {text}\n y = Neg(i) }}"
    return build(body, opset, **weights)


@pytest.mark.parametrize(("text", "opset", "weights"), CASES)
def test_it_is_skipped(text, opset, weights) -> None:
    assert left(tidy(model_of(text, opset, weights), ["idle", "unused"])) == {"Relu": 1, "Neg": 1}


@pytest.mark.parametrize(("text", "opset", "weights"), BUSY)
def test_what_does_something_stays(text, opset, weights) -> None:
    model = model_of(text, opset, weights)
    assert len(tidied(load(model), ["idle"]).model.graph.node) == len(model.graph.node)


def test_a_size_that_is_not_known_may_change() -> None:
    model = model_of("Reshape(a, shape)", 18, {"shape": [4, -1]}, "N")
    model.graph.input[0].type.tensor_type.shape.dim[0].ClearField("dim_param")
    assert "Reshape" in left(tidied(load(model), ["idle"]).model)


def test_casts_there_and_back() -> None:
    text = "(float16[N,5] x) => (y) { a = Relu(x)\n b = Cast<to=1>(a)\n c = Cast<to=10>(b)\n y = Neg(c) }"
    assert left(tidy(build(text), ["idle", "unused"])) == {"Relu": 1, "Neg": 1}
    # and back, but not what it was
    text = "(float[N,5] x) => (y) { a = Relu(x)\n b = Cast<to=10>(a)\n c = Cast<to=1>(b)\n y = Neg(c) }"
    assert left(tidy(build(text), ["idle", "unused"])) == {"Relu": 1, "Neg": 1, "Cast": 2}


def test_a_graph_output_keeps_its_name() -> None:
    text = """(float[N,5] x) => (y, z, u) {
      a = Relu(x)
      b = Identity(a)
      y = Identity(b)
      z = Identity(a)
      u = Identity(x)
      v = Neg(b)
      w = Identity(v)
    }"""
    small = tidy(build(text), ["idle", "unused"])
    assert [v.name for v in small.graph.output] == ["y", "z", "u"]
    # the second output of the same, and the output that is an input, want a node
    assert left(small) == {"Relu": 1, "Identity": 2}


def test_bodies_read_what_is_there() -> None:
    text = """(bool c, float[4] x) => (float[4] y) {
      a = Relu(x)
      b = Identity(a)
      y = If (c) <
        then_branch = t () => (float[4] o) { o = Neg(b) },
        else_branch = e () => (float[4] p) { k = Exp(b)\n p = Identity(k) }
      >
    }"""
    small = tidy(build(text), ["idle", "unused"])
    assert left(small) == {"Relu": 1, "If": 1}
    names = {i for a in small.graph.node[1].attribute for n in a.g.node for i in n.input}
    assert names == {"a", "k"}


@settings(deadline=None, max_examples=25)
@given(st.lists(st.sampled_from(["Identity", "Relu", "Dropout", "Neg"]), min_size=1, max_size=8), st.data())
def test_any_chain_with_any_outputs(ops, data) -> None:
    nodes = [helper.make_node(op, [f"t{at}"], [f"t{at + 1}"]) for at, op in enumerate(ops)]
    chosen = data.draw(st.sets(st.integers(1, len(ops)), max_size=3)) | {len(ops)}
    info = [helper.make_tensor_value_info(f"t{at}", TensorProto.FLOAT, ["N", 3]) for at in (0, *sorted(chosen))]
    graph = helper.make_graph(nodes, "chain", info[:1], info[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    kept = tidy(model, ["idle", "unused"])
    assert left(kept).get("Neg", 0) == ops.count("Neg")
    assert left(kept).get("Identity", 0) + left(kept).get("Dropout", 0) <= len(chosen)
