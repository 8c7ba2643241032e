"""What outputs are taken for, and what tells."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from spa_cli.analysis import analyse_model
from spa_cli.errors import UsageError
from spa_cli.measures.panel import Panel
from spa_cli.runtime.first_run import first_run
from spa_cli.runtime.load import load
from tests.builders import build

W = {"w": (16, 10)}


def panel(model, *said: str, seed: int = 0) -> Panel:
    source = load(model)
    analysis = analyse_model(source, {})
    feeds, reference = first_run(source, analysis.graph, analysis.state.shapes, analysis.shapes_to_try, None, seed)
    return Panel.of(analysis.graph, analysis.state.shapes, feeds, reference, said)


def taken(model, *said: str) -> list[tuple[str, str]]:
    return [(one.kind, one.why) for one in panel(model, *said).taken]


@pytest.mark.parametrize(
    ("text", "weights", "kind", "why"),
    [
        ("(float[N,16] x) => (y) { h = MatMul(x, w)  y = Softmax(h) }", W, "classes", "Softmax over axis -1"),
        ("(float[N,16] x) => (y) { h = MatMul(x, w)  y = LogSoftmax(h) }", W, "classes", "LogSoftmax over axis -1"),
        (
            "(float[N,3,6,6] x) => (y) { h = Conv(x, w)  y = Softmax<axis=1>(h) }",
            {"w": (5, 3, 1, 1)},
            "classes",
            "Softmax over axis -3",
        ),
        (
            "(float[N,3,6,6] x) => (y) { h = Conv(x, w)  s = Softmax<axis=1>(h)  y = Transpose<perm=[0,2,3,1]>(s) }",
            {"w": (5, 3, 1, 1)},
            "classes",
            "Softmax over axis -1",
        ),
        (
            "(float[N,16] x) => (y) { h = MatMul(x, w)  e = Exp(h)  s = ReduceSum<keepdims=1>(e, a)  y = Div(e, s) }",
            {**W, "a": [-1]},
            "classes",
            "probabilities along axis -1 add up to 1",
        ),
        ("(float[N,16] x) => (logits) { logits = MatMul(x, w) }", W, "classes", "it is called 'logits'"),
        ("(float[N,16] x) => (y) { y = MatMul(x, w) }", W, "any", "nothing tells what numbers of MatMul stand for"),
        ("(float[N,16] x) => (y) { h = MatMul(x, w)  y = ArgMax<axis=1>(h) }", W, "labels", "integers or names"),
        ("(float[N,16] x) => (y) { h = MatMul(x, w)  y = Sigmoid(h) }", W, "masks", "Sigmoid: yes or no"),
        (
            "(float[N,16] x) => (y) { h = MatMul(x, w)  y = Tanh(h) }",
            W,
            "values",
            "numbers within bounds, made by Tanh",
        ),
        ("(float[N,16] x) => (y) { y = MatMul(x, w) }", {"w": (16, 1)}, "values", "one number each, made by MatMul"),
        (
            "(float[N,3,6,6] x) => (y) { y = Conv(x, w) }",
            {"w": (3, 3, 1, 1)},
            "values",
            "numbers at every place, made by Conv",
        ),
        (
            "(float[N,16] x) => (y) { h = MatMul(x, w)  s = Sigmoid(h)  y = Concat<axis=1>(x, s) }",
            W,
            "values",
            "parts made by Sigmoid and input",
        ),
        (
            "(float[N,16] x) => (y) { h = MatMul(x, w)  n = ReduceL2<keepdims=1>(h, a)  y = Div(h, n) }",
            {**W, "a": [-1]},
            "embeddings",
            "vectors that are divided by their length",
        ),
        (
            "(float[N,5,16] x) => (y) { h = MatMul(x, w)  y = LayerNormalization(h, g, b) }",
            {"w": (16, 12), "g": (12,), "b": (12,)},
            "embeddings",
            "vectors that are normalised",
        ),
        (
            "(int64[N,T] ids) => (y) { h = Gather(t, ids)  y = MatMul(h, w) }",
            {"t": (20, 8), "w": (8, 20)},
            "tokens",
            "scores of 20 tokens, as many as 'ids' is looked up among",
        ),
        (
            "(int64[N,T] ids) => (y) { h = Gather(t, ids)  y = MatMul(h, w) }",
            {"t": (20, 8), "w": (8, 6)},
            "any",
            "nothing tells",
        ),
        (
            "(int64[N,T] ids) => (y) { h = Gather(t, ids)  l = MatMul(h, w)  y = Softmax(l) }",
            {"t": (20, 8), "w": (8, 20)},
            "tokens",
            "Softmax over axis -1, as many as tokens that go in",
        ),
    ],
)
def test_kinds(text, weights, kind, why) -> None:
    ((found, told),) = taken(build(text, **weights))
    assert found == kind
    assert told.startswith(why)


def test_shades_of_a_picture_are_no_mask() -> None:
    text = "(float[2,3,16,16] x) => (y) { h = Conv(x, w)  k = Mul(h, s)  y = Sigmoid(k) }"
    w = np.random.default_rng(0).normal(size=(1, 3, 1, 1)).astype(np.float32)
    for scale, kind in ((0.1, "values"), (100.0, "masks")):
        assert taken(build(text, w=w, s=float(scale)))[0][0] == kind


def test_the_user_knows_better() -> None:
    model = build("(float[N,16] x) => (y, z) { y = MatMul(x, w)  z = MatMul(x, v) }", **W, v=(16, 12))
    assert [k for k, _ in taken(model, "classes")] == ["classes", "classes"]
    assert taken(model, "y=values", "z=embeddings") == [("values", "--as values"), ("embeddings", "--as embeddings")]
    assert [k for k, _ in taken(model, "z=masks")] == ["any", "masks"]
    assert [k for k, _ in taken(model, "tokens", "z=any")] == ["tokens", "any"]
    softmax = build("(float[N,16] x) => (y) { h = MatMul(x, w)  y = Softmax(h) }", **W)
    assert taken(softmax, "classes") == [("classes", "--as classes; Softmax over axis -1")]
    assert taken(softmax, "values")[0][0] == "values"
    # integers are what they are
    labels = build("(float[N,16] x) => (y) { h = MatMul(x, w)  y = ArgMax<axis=1>(h) }", **W)
    assert taken(labels, "values") == [("labels", "--as values")]


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ("faces", r"--as faces names no kind; use one of classes, tokens, .*, or OUTPUT=KIND"),
        ("q=classes", r"--as names output 'q', which the model does not give; name one of y"),
        (
            "detections",
            r"--as detections: no boxes with scores can be made out in 'y'; leave it out, or name the outputs",
        ),
    ],
)
def test_what_is_not_so_is_refused(said, says) -> None:
    with pytest.raises(UsageError, match=says):
        taken(build("(float[N,16] x) => (y) { y = MatMul(x, w) }", **W), said)


def test_what_is_no_tensor_keeps_the_generic_measure() -> None:
    model = build("(float[N,16] x) => (y) { h = MatMul(x, w)  y = Softmax(h) }", **W)
    zipped = onnx.helper.make_node("ZipMap", ["y"], ["z"], domain="ai.onnx.ml", classlabels_int64s=[*range(10)])
    model.graph.node.append(zipped)
    model.opset_import.append(onnx.helper.make_opsetid("ai.onnx.ml", 1))
    each = onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, [])
    maps = onnx.helper.make_map_type_proto(onnx.TensorProto.INT64, each)
    kind = onnx.helper.make_sequence_type_proto(maps)
    model.graph.output.append(onnx.helper.make_value_info("z", kind))
    assert taken(model)[1] == ("any", "it is no tensor of numbers")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("y = ReduceMean<keepdims=0>(h)", ("values", "one number each, made by a constant")),
        ("m = ReduceMean<keepdims=0>(h)  y = Sigmoid(m)", ("masks", "Sigmoid: yes or no")),
    ],
)
def test_a_single_number(text, expected) -> None:
    """It has no axis to go back along."""
    assert taken(build(f"(float[N,16] x) => (y) {{ h = MatMul(x, w)  {text} }}", **W)) == [expected]
