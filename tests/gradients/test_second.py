import pytest

from tests.extras import needs

needs("torch", "onnx2torch")

from typing import Any

import numpy as np
import torch
from onnx import helper
from torch.nn import functional as F

from spa_cli.gradients.loss import Loss
from tests.gradients.networks import (
    Perceptron,
    Recurrent,
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


def two_layers(batch="n", extra=()) -> Any:
    w, v = normal(3, 4), normal(4, 3)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Tanh", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "v"], ["c"]),
        *(extra or [helper.make_node("Identity", ["c"], ["y"])]),
    ]
    return graph(nodes, {"x": [batch, 3]}, {"w": w, "v": v}), {"w": w, "v": v}


def test_hessian_gradient_is_the_whole_hessian_times_the_gradient() -> None:
    model, weights = two_layers()
    x, labels, shares = normal(6, 3), np.array([0, 1, 2, 2, 1, 0]), np.array([1.0, 1.0, 2.0, 0.5, 1.0, 1.0])
    parts = [({"x": x[s]}, labels[s], shares[s]) for s in (slice(0, 4), slice(4, 6))]
    found = differentiable(model, {"x": x}).hessian_gradient(parts)

    def mean(flat):
        w, v = flat[:12].reshape(3, 4), flat[12:].reshape(4, 3)
        y = torch.tanh(torch.from_numpy(x).double() @ w) @ v
        each = F.cross_entropy(y, torch.from_numpy(labels), reduction="none")
        return (each * torch.from_numpy(shares)).sum() / shares.sum()

    flat = torch.tensor(np.concatenate([weights["w"].ravel(), weights["v"].ravel()])).double()
    gradient = torch.autograd.functional.jacobian(mean, flat)
    wanted = (torch.autograd.functional.hessian(mean, flat) @ gradient).numpy()
    close(found["w"], wanted[:12].reshape(3, 4))
    close(found["v"], wanted[12:].reshape(4, 3))


@pytest.mark.parametrize("network", [Residual, Transformer, Recurrent])
def test_hessian_gradient_of_networks(network) -> None:
    module, inputs = made(network)
    labels = torch.arange(len(inputs[0])) % 3
    feeds = feeds_of(module, inputs)
    found = differentiable(exported(module, inputs, "script"), feeds).hessian_gradient(
        [(feeds, labels.numpy(), np.ones(len(labels)))]
    )
    parameters = dict(module.named_parameters())
    first = torch.autograd.grad(F.cross_entropy(module(*inputs), labels), list(parameters.values()), create_graph=True)
    along = sum((g * g.detach()).sum() for g in first)
    for name, wanted in zip(parameters, torch.autograd.grad(along, list(parameters.values())), strict=True):
        close(found[name], wanted.numpy(), 1e-3)


@pytest.mark.parametrize("network", [Residual, Perceptron, Transformer])
def test_fisher_is_the_mean_of_squared_gradients_of_samples(network) -> None:
    module, inputs = made(network)
    (x,) = inputs
    labels, feeds = np.arange(len(x)) % 3, feeds_of(module, inputs)
    shares = np.linspace(0, 2, len(x))
    found = differentiable(exported(module, inputs, "script"), feeds).fisher([(feeds, labels, shares)])
    total = {}
    for i, share in enumerate(shares):
        wanted = torch.from_numpy(labels[i : i + 1])
        for name, g in autograd(module, [x[i : i + 1]], lambda y, w=wanted: F.cross_entropy(y, w)).items():
            total[name] = total.get(name, 0) + share * g.astype(np.float64) ** 2 / shares.sum()
    for name, wanted in total.items():
        close(found[name], wanted, 1e-3)


def test_fisher_of_a_fixed_batch_whose_samples_see_each_other() -> None:
    # what each sample gives has the mean over the batch taken off: no sample can be run alone
    extra = [
        helper.make_node("ReduceMean", ["c"], ["m"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["c", "m"], ["y"]),
    ]
    x, labels = normal(5, 3), np.array([0, 1, 2, 2, 1])
    for batch in (5, "n"):
        model, weights = two_layers(batch, extra)
        found = differentiable(model, {"x": x}).fisher([({"x": x}, labels, np.ones(5))])
        w, v = (torch.tensor(a, requires_grad=True) for a in weights.values())
        y = torch.tanh(torch.from_numpy(x) @ w) @ v
        each = F.cross_entropy(y - y.mean(0), torch.from_numpy(labels), reduction="none")
        squares = [torch.autograd.grad(loss, [w, v], retain_graph=True) for loss in each]
        close(found["w"], np.mean([g[0].numpy() ** 2 for g in squares], 0))
        close(found["v"], np.mean([g[1].numpy() ** 2 for g in squares], 0))


def test_fisher_of_operators_that_torch_cannot_vectorise(monkeypatch) -> None:
    model, weights = two_layers()
    x, labels = normal(4, 3), np.array([0, 1, 2, 1])
    by = differentiable(model, {"x": x})
    wanted = by.fisher([({"x": x}, labels, np.ones(4))])

    def refuses(*_, **__):
        raise RuntimeError("no batching rule")

    monkeypatch.setattr(torch.func, "vmap", refuses)
    found = by.fisher([({"x": x}, labels, np.ones(4))])
    for name in weights:
        close(found[name], wanted[name])


def test_drawn_labels_are_the_same_for_every_derivative() -> None:
    model, _ = two_layers()
    x = normal(8, 3)
    by, parts = differentiable(model, {"x": x}), [({"x": x}, None, np.ones(8))]
    one, again = by.fisher(parts, Loss(seed=3)), by.fisher(parts, Loss(seed=3))
    other = by.fisher(parts, Loss(seed=4))
    assert all(np.array_equal(one[n], again[n]) for n in one)
    assert any(not np.allclose(one[n], other[n]) for n in one)


def test_fisher_of_drawn_labels_is_the_curvature_of_the_softmax() -> None:
    # for logits x w the Fisher matrix is known: E[x_i^2] p_j (1 - p_j)
    w = normal(3, 4)
    model = graph([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": ["n", 3]}, {"w": w})
    x = np.repeat(normal(1, 3), 4000, 0)
    found = differentiable(model, {"x": x[:2]}).fisher([({"x": x}, None, np.ones(len(x)))])
    p = torch.softmax(torch.from_numpy(x[:1] @ w), -1).numpy()[0]
    np.testing.assert_allclose(found["w"], x[0][:, None] ** 2 * (p * (1 - p)), rtol=0.15, atol=1e-3)
