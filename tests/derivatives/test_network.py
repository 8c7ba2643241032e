"""What can't be differentiated, in one sentence."""

import numpy as np
import pytest

from spa_cli.adjoints.weights import WeightGradients
from spa_cli.derivatives.differentiable import Differentiable
from spa_cli.errors import ModelError, UsageError
from spa_cli.runtime.load import load
from tests.builders import build

PRODUCT = "(float[N,5] x) => (float[N,4] y) { y = MatMul(x, w) }"
INSTEAD = "use a criterion that needs no gradients, such as obspa, or --method scores:FILE.npz"


def test_an_operator_without_an_adjoint_is_named() -> None:
    model = build("(float[N,5] x) => (float[N,4] y) { a = MatMul(x, w)\n y = Hardmax(a) }", w=(5, 4))
    x = np.ones((2, 5), np.float32)
    message = f"no weight has a gradient .operator Hardmax .node 'Hardmax_y'. .*it is a step.; {INSTEAD}"
    with pytest.raises(ModelError, match=message):
        Differentiable.of(load(model).graph, {"x": x}, [np.eye(4, dtype=np.float32)[[0, 0]]])


def test_weights_without_a_gradient_are_named_and_the_others_have_theirs() -> None:
    text = "(float[N,5] x) => (float[N,3] y) { a = MatMul(x, w)\n b = Hardmax(a)\n y = MatMul(b, v) }"
    graph = load(build(text, w=(5, 4), v=(4, 3))).graph
    x = np.ones((2, 5), np.float32)
    best = np.eye(4)[(x @ graph.array("w")).argmax(1)]
    by = Differentiable.of(graph, {"x": x}, [(best @ graph.array("v")).astype(np.float32)])
    assert set(by.weights) == {"v"} and "Hardmax" in by.missing["w"]
    found = by.gradient([({"x": x}, np.array([0, 1]), np.ones(2))])
    assert set(found) == {"v"}


def test_a_model_that_computes_something_else_is_not_trusted() -> None:
    x, graph = np.ones((2, 5), np.float32), load(build(PRODUCT, w=(5, 4))).graph
    right = x @ graph.array("w")
    Differentiable.of(graph, {"x": x}, [right])
    with pytest.raises(ModelError, match=r"gives 'y' with a relative error of 0.0[0-9]+ to the model, so its grad"):
        Differentiable.of(graph, {"x": x}, [right * 1.01])
    with pytest.raises(ModelError, match="error of inf"):
        Differentiable.of(graph, {"x": x}, [right[:1]])


def test_what_onnxruntime_makes_of_it_is_one_sentence(monkeypatch) -> None:
    def fails(*_args: object, **_kwargs: object) -> None:
        raise RuntimeError("out of memory\nand more")

    x, graph = np.ones((2, 5), np.float32), load(build(PRODUCT, w=(5, 4))).graph
    by = Differentiable.of(graph, {"x": x}, [x @ graph.array("w")])
    monkeypatch.setattr(WeightGradients, "outputs", fails)
    with pytest.raises(
        ModelError, match=f"gradient graph doesn't run in onnxruntime .out of memory and more.; {INSTEAD}"
    ):
        by.forward({"x": x})


def test_a_model_without_weights_or_real_outputs_has_no_loss() -> None:
    graph = load(build("(float[N,5] x) => (int64[2] y) { a = Mul(x, w)\n y = Shape(a) }", w=(1, 5))).graph
    with pytest.raises(ModelError, match="no floating-point output depends on weights"):
        Differentiable.of(graph, {"x": np.ones((2, 5), np.float32)}, [np.array([2, 5])])


def test_outputs_that_no_weight_reaches_bear_no_loss() -> None:
    text = "(float[N,5] x) => (float[N,4] y, float[N,5] z) { y = MatMul(x, w)\n z = Neg(x) }"
    graph = load(build(text, w=(5, 4))).graph
    x = np.ones((2, 5), np.float32)
    assert Differentiable.of(graph, {"x": x}, [x @ graph.array("w"), -x]).outputs == ["y"]


def test_scores_stand_in_for_the_class_they_name() -> None:
    model = build("(float[N,5] x) => (int64[N] y) { a = MatMul(x, w)\n y = ArgMax<axis=1, keepdims=0>(a) }", w=(5, 4))
    graph = load(model).graph
    x = np.ones((2, 5), np.float32)
    assert Differentiable.of(graph, {"x": x}, [np.array([0, 0])]).outputs == ["a"]


def test_what_weighs_nothing_and_what_is_not_finite_is_refused() -> None:
    x, labels = np.ones((2, 5), np.float32), np.array([0, 1])
    graph = load(build(PRODUCT, w=(5, 4))).graph
    by = Differentiable.of(graph, {"x": x}, [x @ graph.array("w")])
    with pytest.raises(UsageError, match="no sample counts in the loss"):
        by.gradient([({"x": x}, labels, np.zeros(2))])
    rooted = load(
        build("(float[N,5] x) => (float[N,5] y) { a = Mul(x, w)\n y = Sqrt(a) }", w=np.zeros((1, 5), np.float32))
    ).graph
    zero = np.zeros((2, 5), np.float32)
    with pytest.raises(ModelError, match="gradient by 'w' is not finite"):
        Differentiable.of(rooted, {"x": x}, [zero]).gradient([({"x": x}, zero + 1, np.ones(2))])


def test_strings_are_fed_as_they_are() -> None:
    """An input without derivatives beside the weights."""
    model = build(
        "(float[N,5] x, string[N] s) => (float[N,4] y, string[N] t) { y = MatMul(x, w)\n t = Identity(s) }", w=(5, 4)
    )
    x, words = np.ones((2, 5), np.float32), np.array(["a", "b"], object)
    graph = load(model).graph
    by = Differentiable.of(graph, {"x": x, "s": words}, [x @ graph.array("w"), words])
    assert by.gradient([({"x": x, "s": words}, np.array([0, 1]), np.ones(2))]).keys() == {"w"}
