"""Whole networks against torch's own autograd."""

import pytest

from tests.extras import needs

needs("torch")

import numpy as np
import torch
from torch.nn import functional as F

from tests.derivatives.networks import (
    NETWORKS,
    Perceptron,
    Recurrent,
    Residual,
    Transformer,
    autograd,
    exported,
    feeds_of,
    made,
)
from tests.derivatives.small import close, differentiable


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


# the last by differences
@pytest.mark.parametrize(("network", "tolerance"), [(Residual, 1e-4), (Transformer, 1e-4), (Recurrent, 5e-3)])
def test_hessian_gradient_of_networks(network, tolerance) -> None:
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
        close(found[name], wanted.numpy(), tolerance)


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
