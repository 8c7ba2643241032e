import pytest

from tests.extras import needs

needs("torch", "onnx2torch")

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional as F

from tests.gradients.networks import (
    NETWORKS,
    Perceptron,
    Residual,
    Transformer,
    autograd,
    close,
    differentiable,
    exported,
    feeds_of,
    graph,
    made,
    normal,
)


@pytest.mark.parametrize(
    ("network", "how"), [*((n, "script") for n in NETWORKS), (Residual, "dynamo"), (Transformer, "dynamo")]
)
def test_gradients_are_those_of_the_module_that_was_exported(network, how) -> None:
    if how == "dynamo":
        needs("onnxscript")
    module, inputs = made(network)
    model = exported(module, inputs, how)
    found_by = differentiable(model, feeds_of(module, inputs))
    labels = np.arange(len(inputs[0])) % 3
    found = found_by.gradient([(feeds_of(module, inputs), labels, np.ones(len(labels)))])
    wanted = autograd(module, inputs, lambda y: F.cross_entropy(y, torch.from_numpy(labels)))
    by_name = {n: g for n, g in found.items() if n in wanted and g.shape == wanted[n].shape}
    for name, gradient in by_name.items():
        assert gradient.dtype == np.float64
        close(gradient, wanted[name])
    assert by_name.keys() == wanted.keys()


def test_batches_of_other_sizes_and_weights_make_one_mean() -> None:
    module, inputs = made(Perceptron)
    (x,) = inputs
    found_by = differentiable(exported(module, inputs, "script"), feeds_of(module, inputs))
    labels, weights = np.array([0, 1, 2, 3, 0, 1]), np.array([1.0, 2.0, 0.5, 1.0, 0.0, 3.0])
    parts = [({"x": x[s].numpy()}, labels[s], weights[s]) for s in (slice(0, 4), slice(4, 6))]

    def mean(y):
        each = F.cross_entropy(y, torch.from_numpy(labels), reduction="none")
        return (each * torch.from_numpy(weights)).sum() / weights.sum()

    found, wanted = found_by.gradient(parts), autograd(module, inputs, mean)
    for name in wanted.keys() & found.keys():
        close(found[name], wanted[name])
    assert len(found_by.functions) == 3  # of all six, of four, of two


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
    tw, tv = (torch.tensor(a, requires_grad=True) for a in (w, v))
    y = 0.5 * torch.tanh(torch.from_numpy(x) @ tw.t()) @ tv.t() @ tv
    F.cross_entropy(y, torch.from_numpy(labels)).backward()
    assert set(found) == {"w", "v"}
    close(found["w"], tw.grad.numpy())
    close(found["v"], tv.grad.numpy())


def test_half_precision_is_differentiated_in_single() -> None:
    w = normal(6, 4)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    model = graph(nodes, {"x": ["n", 6]}, {"w": w.astype(np.float16)})
    for info in (model.graph.input[0], model.graph.output[0]):
        info.type.tensor_type.elem_type = TensorProto.FLOAT16
    x, labels = normal(3, 6).astype(np.float16), np.array([0, 1, 3])
    found = differentiable(model, {"x": x}).gradient([({"x": x}, labels, np.ones(3))])
    leaf = torch.tensor(w.astype(np.float16).astype(np.float32), requires_grad=True)
    F.cross_entropy(torch.from_numpy(x.astype(np.float32)) @ leaf, torch.from_numpy(labels)).backward()
    close(found["w"], leaf.grad.numpy())


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
    found = differentiable(model, {"x": x}).gradient([({"x": x}, labels, np.ones(3))])
    real = torch.tensor(q * scale, requires_grad=True)
    F.cross_entropy(torch.from_numpy(x) @ real, torch.from_numpy(labels)).backward()
    close(found["q"], real.grad.numpy() * scale)


def test_statistics_and_bounds_are_no_weights() -> None:
    model = graph(
        [
            helper.make_node("BatchNormalization", ["x", "scale", "shift", "mean", "var"], ["a"]),
            helper.make_node("Clip", ["a", "low", "high"], ["y"]),
        ],
        {"x": ["n", 4]},
        {
            **{n: np.abs(normal(4)) + 0.5 for n in ("scale", "shift", "mean", "var")},
            "low": np.array(-1, np.float32),
            "high": np.array(1, np.float32),
        },
    )
    found = differentiable(model, {"x": normal(5, 4)})
    assert set(found.names) == {"scale", "shift"}
