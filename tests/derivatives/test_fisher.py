"""Squared gradients, sample by sample."""

import numpy as np
import pytest
from onnx import helper

from spa_cli.derivatives import fisher
from spa_cli.derivatives.loss import Loss
from tests.derivatives.small import close, cross_entropy, differentiable, graph, log_softmax, normal, slopes, two_layers

# what each sample gives has the mean over the batch taken off: no sample can be run alone
MEAN_OFF = [
    helper.make_node("ReduceMean", ["c"], ["m"], axes=[0], keepdims=1),
    helper.make_node("Sub", ["c", "m"], ["y"]),
]


def test_it_is_the_weighted_mean_over_samples() -> None:
    model, weights = two_layers()
    x, labels, shares = normal(5, 3), np.array([0, 1, 2, 2, 1]), np.linspace(0, 2, 5)
    by = differentiable(model, {"x": x})
    found = by.fisher([({"x": x}, labels, shares)])

    def each(at):
        return cross_entropy(np.tanh(x @ at["w"]) @ at["v"], labels)

    for name, wanted in slopes(each, weights).items():
        close(found[name], np.einsum("n,n...->...", shares, np.square(wanted)) / shares.sum(), 1e-3)
    assert len(by.functions) == 2, "of the batch, of one sample"


@pytest.mark.parametrize("batch", [5, "n"])
def test_a_batch_whose_samples_see_each_other(batch) -> None:
    x, labels = normal(5, 3), np.array([0, 1, 2, 2, 1])
    model, weights = two_layers(batch, MEAN_OFF)
    found = differentiable(model, {"x": x}).fisher([({"x": x}, labels, np.ones(5))])

    def each(at):
        y = np.tanh(x @ at["w"]) @ at["v"]
        return cross_entropy(y - y.mean(0), labels)

    for name, wanted in slopes(each, weights).items():
        close(found[name], np.square(wanted).mean(0), 1e-3)


def test_a_batch_of_a_fixed_size(monkeypatch) -> None:
    """Another size does not run: one run of the whole batch a sample gives the same."""
    reshaped = [helper.make_node("Reshape", ["c", "five"], ["y"])]
    model, weights = two_layers(5, reshaped)
    model.graph.initializer.append(helper.make_tensor("five", 7, [2], [5, 3]))
    free, _ = two_layers()
    x, labels = normal(5, 3), np.array([0, 1, 2, 2, 1])
    fixed = differentiable(model, {"x": x}).fisher([({"x": x}, labels, np.ones(5))])
    monkeypatch.setattr(fisher, "_through_all", None)
    found = differentiable(free, {"x": x}).fisher([({"x": x}, labels, np.ones(5))])
    for name in weights:
        close(fixed[name], found[name])


def test_drawn_labels_are_the_same_for_every_derivative() -> None:
    model, _ = two_layers()
    x = normal(8, 3)
    by, parts = differentiable(model, {"x": x}), [({"x": x}, None, np.ones(8))]
    one, again = by.fisher(parts, Loss(seed=3)), by.fisher(parts, Loss(seed=3))
    other = by.fisher(parts, Loss(seed=4))
    assert all(np.array_equal(one[n], again[n]) for n in one)
    assert any(not np.allclose(one[n], other[n]) for n in one)


def test_of_drawn_labels_it_is_the_curvature_of_the_softmax() -> None:
    # for logits x w the Fisher matrix is known: E[x_i^2] p_j (1 - p_j)
    w = normal(3, 4)
    model = graph([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": ["n", 3]}, {"w": w})
    x = np.repeat(normal(1, 3), 2000, 0)
    found = differentiable(model, {"x": x[:2]}).fisher([({"x": x}, None, np.ones(len(x)))])
    p = np.exp(log_softmax(x[:1] @ w))[0]
    np.testing.assert_allclose(found["w"], x[0][:, None] ** 2 * (p * (1 - p)), rtol=0.2, atol=2e-3)
