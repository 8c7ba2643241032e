"""The Hessian times the gradient, against finite differences of the loss itself."""

import numpy as np
import pytest
from onnx import helper

from spa_cli.derivatives import hessian
from spa_cli.derivatives.loss import Loss
from tests.derivatives.small import close, cross_entropy, differentiable, graph, normal, slopes, two_layers


def wanted_of(mean, weights) -> dict:
    """H g by differences of differences."""
    gradient = slopes(mean, weights)
    step = 1e-4
    size = np.sqrt(sum(np.square(g).sum() for g in gradient.values()))
    sides = [slopes(mean, {n: w + sign * step / size * gradient[n] for n, w in weights.items()}) for sign in (1, -1)]
    return {n: (sides[0][n] - sides[1][n]) * size / (2 * step) for n in weights}


def test_it_is_the_whole_hessian_times_the_gradient() -> None:
    model, weights = two_layers()
    x, labels, shares = normal(6, 3), np.array([0, 1, 2, 2, 1, 0]), np.array([1.0, 1.0, 2.0, 0.5, 1.0, 1.0])
    parts = [({"x": x[s]}, labels[s], shares[s]) for s in (slice(0, 4), slice(4, 6))]
    found = differentiable(model, {"x": x}).hessian_gradient(parts)

    def mean(at):
        return cross_entropy(np.tanh(x @ at["w"]) @ at["v"], labels) @ shares / shares.sum()

    for name, wanted in wanted_of(mean, weights).items():
        close(found[name], wanted)


def test_kinks_have_no_curvature() -> None:
    """A difference across one would: of layers of Relu the product is exact all the same."""
    w, v = normal(3, 40), normal(40, 3)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "v"], ["y"]),
    ]
    model = graph(nodes, {"x": ["n", 3]}, {"w": w, "v": v})
    x, labels = normal(64, 3), np.arange(64) % 3
    found = differentiable(model, {"x": x}).hessian_gradient([({"x": x}, labels, np.ones(64))])
    inside = (x.astype(np.float64) @ w) > 0

    def mean(at):
        return cross_entropy((x @ at["w"] * inside) @ at["v"], labels).mean()

    for name, wanted in wanted_of(mean, {"w": w, "v": v}).items():
        close(found[name], wanted)


def test_differences_where_an_operator_has_no_second_derivative() -> None:
    """A layer through time goes back by a Scan; of smooth ones a small step is right to three digits and more."""
    steps, width = 4, 3
    weights = {"w": normal(1, width, 2), "r": normal(1, width, width) / 2, "v": normal(width, 3)}
    nodes = [
        helper.make_node("RNN", ["x", "w", "r"], ["", "h"], hidden_size=width),
        helper.make_node("Squeeze", ["h", "zero"], ["last"]),
        helper.make_node("MatMul", ["last", "v"], ["y"]),
    ]
    model = graph(nodes, {"x": [steps, 5, 2]}, {**weights, "zero": np.array([0])})
    x, labels = normal(steps, 5, 2), np.array([0, 1, 2, 0, 1])
    by = differentiable(model, {"x": x})
    batches = [({"x": x}, labels, np.ones(5))]
    found = by.hessian_gradient(batches)

    def mean(at):
        h = np.zeros((5, width))
        for row in x:
            h = np.tanh(row @ at["w"][0].T + h @ at["r"][0].T)
        return cross_entropy(h @ at["v"], labels).mean()

    for name, wanted in wanted_of(mean, weights).items():
        close(found[name], wanted, 2e-3)


@pytest.mark.parametrize("labels", [None, np.array([0, 1, 2, 2])])
def test_differences_and_the_exact_product_agree(labels) -> None:
    model, _ = two_layers()
    x, loss = normal(4, 3), Loss(seed=2)
    by = differentiable(model, {"x": x})
    batches = [({"x": x}, labels, np.ones(4))]
    along = by.gradient(batches, loss)
    (case,) = hessian.cases(by, batches, loss)
    found, exact = hessian.difference(by, case, loss, along), by.hessian_gradient(batches, loss)
    for name in exact:
        close(found[name] / 4, exact[name], 1e-3)
