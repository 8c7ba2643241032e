"""Gradients of a loss in weights, however a file stores them."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.derivatives.small import close, cross_entropy, differentiable, graph, log_softmax, normal, slopes, two_layers


def test_batches_of_other_sizes_and_weights_make_one_mean() -> None:
    model, weights = two_layers()
    x, labels, shares = normal(6, 3), np.array([0, 1, 2, 1, 0, 1]), np.array([1.0, 2.0, 0.5, 1.0, 0.0, 3.0])
    by = differentiable(model, {"x": x})
    found = by.gradient([({"x": x[s]}, labels[s], shares[s]) for s in (slice(0, 4), slice(4, 6))])

    def mean(at):
        return cross_entropy(np.tanh(x @ at["w"]) @ at["v"], labels) @ shares / shares.sum()

    for name, wanted in slopes(mean, weights).items():
        assert found[name].dtype == np.float64
        close(found[name], wanted)
    assert len(by.functions) == 3  # of all six, of four, of two


def test_weights_in_constants_behind_transposes_and_shared_ones() -> None:
    w, v = normal(4, 3), normal(4, 4)
    model = graph(
        [
            helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(w)),
            helper.make_node("Identity", ["v"], ["same"]),
            helper.make_node("Transpose", ["w"], ["wt"], perm=[1, 0]),
            helper.make_node("MatMul", ["x", "wt"], ["a"]),
            helper.make_node("Tanh", ["a"], ["b"]),
            helper.make_node("Gemm", ["b", "v"], ["c"], transB=1, alpha=0.5),
            helper.make_node("MatMul", ["c", "same"], ["y"]),
        ],
        {"x": ["n", 3]},
        {"v": v},
    )
    x, labels = normal(5, 3), np.array([0, 1, 2, 3, 1])
    found = differentiable(model, {"x": x}).gradient([({"x": x}, labels, np.ones(5))])

    def mean(at):
        return cross_entropy(0.5 * np.tanh(x @ at["w"].T) @ at["v"].T @ at["v"], labels).mean()

    assert set(found) == {"w", "v"}
    for name, wanted in slopes(mean, {"w": w, "v": v}).items():
        close(found[name], wanted)


def of_linear(x, w, labels) -> np.ndarray:
    """The gradient of the mean cross entropy of ``x @ w`` in ``w``."""
    scores = np.exp(log_softmax(np.asarray(x, np.float64) @ w))
    scores[np.arange(len(labels)), labels] -= 1
    return np.asarray(x, np.float64).T @ scores / len(labels)


def test_half_precision_is_differentiated_in_single() -> None:
    w = normal(6, 4).astype(np.float16)
    model = graph([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": ["n", 6]}, {"w": w})
    for info in (model.graph.input[0], model.graph.output[0]):
        info.type.tensor_type.elem_type = TensorProto.FLOAT16
    x, labels = normal(3, 6).astype(np.float16), np.array([0, 1, 3])
    found = differentiable(model, {"x": x}).gradient([({"x": x}, labels, np.ones(3))])
    close(found["w"], of_linear(x, w.astype(np.float64), labels))


def test_quantised_weights_get_the_gradient_by_their_integers() -> None:
    q, scale = np.random.default_rng(0).integers(-127, 127, (6, 4)).astype(np.int8), np.float32(0.02)
    model = graph(
        [
            helper.make_node("DequantizeLinear", ["q", "s"], ["w"]),
            helper.make_node("MatMul", ["x", "w"], ["y"]),
        ],
        {"x": ["n", 6]},
        {"q": q, "s": np.array(scale)},
    )
    x, labels = normal(3, 6), np.array([0, 1, 3])
    by = differentiable(model, {"x": x})
    found = by.gradient([({"x": x}, labels, np.ones(3))])
    close(found["q"], of_linear(x, q * scale, labels) * scale)
    assert np.isfinite(by.hessian_gradient([({"x": x}, labels, np.ones(3))])["q"]).all()


def test_statistics_and_bounds_are_no_weights() -> None:
    """Also where an exporter stored them once with a weight of the same values."""
    model = graph(
        [
            helper.make_node("BatchNormalization", ["x", "scale", "shift", "mean", "scale"], ["a"]),
            helper.make_node("Clip", ["a", "low", "high"], ["y"]),
        ],
        {"x": ["n", 4]},
        {
            **{n: np.abs(normal(4)) + 0.5 for n in ("scale", "shift", "mean")},
            "low": np.array(-9, np.float32),
            "high": np.array(9, np.float32),
        },
    )
    x, labels = normal(5, 4), np.array([0, 1, 2, 3, 0])
    by = differentiable(model, {"x": x})
    assert set(by.weights) == {"scale", "shift"}
    root = np.sqrt(by.weights["scale"].astype(np.float64) + 1e-5)

    def mean(at):
        return cross_entropy((x - by.graph.array("mean")) / root * at["scale"] + at["shift"], labels).mean()

    found = by.gradient([({"x": x}, labels, np.ones(5))])
    for name, wanted in slopes(mean, by.weights).items():
        close(found[name], wanted)


@pytest.mark.parametrize("axis", [0, 1])
def test_branches_that_sizes_or_switches_decide_are_taken(axis) -> None:
    """Their weights have gradients; others, in the branch that is not taken, have none."""
    then = helper.make_graph(
        [helper.make_node("MatMul", ["x", "inner"], ["p"])],
        "then",
        [],
        [helper.make_tensor_value_info("p", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(normal(3, 4), "inner")],
    )
    other = helper.make_graph(
        [helper.make_node("MatMul", ["x", "unused"], ["q"])],
        "else",
        [],
        [helper.make_tensor_value_info("q", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(normal(3, 4), "unused")],
    )
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "axis"], ["size"]),
        helper.make_node("Less", ["size", "few"], ["small"]),
        helper.make_node("And", ["small", "switch"], ["both"]),
        helper.make_node("If", ["both"], ["y"], then_branch=then, else_branch=other),
    ]
    constants = {"axis": np.array(axis), "few": np.array(10)}
    model = graph(nodes, {"x": ["n", 3]}, constants)
    model.graph.input.append(helper.make_tensor_value_info("switch", TensorProto.BOOL, []))
    x, labels = normal(4, 3), np.array([0, 1, 2, 3])
    for switch, name in ((True, "inner"), (False, "unused")):
        feeds = {"x": x, "switch": np.array(switch)}
        by = differentiable(model, feeds)
        assert set(by.weights) == {name}
        found = by.gradient([(feeds, labels, np.ones(4))])
        close(found[name], of_linear(x, by.weights[name], labels))
