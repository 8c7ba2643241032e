"""Element by element."""

import numpy as np
import pytest

from spa_cli.adjoints.elementwise import UNARY
from tests.adjoints.differences import adjoint_of, check, check_any, half, model_of, noise


@pytest.mark.parametrize("operator", [*UNARY, "Relu", "Neg", "Identity", "Dropout", 'Gelu<approximate="tanh">'])
def test_function_of_one_number(operator) -> None:
    name = operator.partition("<")[0]
    x = noise(2, 5)
    if name in ("Acosh", "Log", "Sqrt", "Reciprocal"):
        x = noise(2, 5, low=1.1)
    if name in ("Acos", "Asin", "Atanh"):
        x = x / 2
    opset = {"Swish": 24, "Gelu": 20}.get(name, 18)
    check_any(f"y = {operator}(x)", {"x": x}, {}, ["x"], opset=opset)


BINARY = ["Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum", "Mean", "PRelu"]


@pytest.mark.parametrize("operator", BINARY)
@pytest.mark.parametrize(
    "shapes", [((2, 3, 4), (2, 3, 4)), ((2, 3, 4), (3, 1)), ((2, 3, 4), ()), ((2, 1, 4), (1, 3, 1))]
)
def test_two_operands(operator, shapes) -> None:
    if operator == "PRelu" and shapes[0] != (2, 3, 4):
        return
    low = 0.5 if operator in ("Div", "Pow") else None
    a, b = noise(*shapes[0], low=low), noise(*shapes[1], seed=1, low=low)
    inputs = {"a": a, "b": b}
    check_any(f"y = {operator}(a, b)", inputs, {}, ["a", "b"])


@pytest.mark.parametrize("opset", [7, 8, 9, 11, 13, 21])
def test_operator_sets(opset) -> None:
    inputs = {"a": half(noise(2, 3)), "b": half(noise(3, seed=1))}
    body = "c = Mul(a, b)  d = Relu(c)  e = Abs(d)  f = Add(e, b)  y = Max(f, c)"
    check(model_of(body, inputs, {}, opset=opset, dtype="float"), inputs, ["a", "b"], step=1e-3, tolerance=1e-2)


def test_one_at_analysis_may_be_many_as_it_runs() -> None:
    """A free axis of size one does not look as if it were broadcast."""
    inputs = {"a": noise(1, 3), "b": noise(1, 3, seed=1)}
    wide = {"a": noise(4, 3), "b": noise(4, 3, seed=1)}
    check(model_of("y = Mul(a, b)", inputs, {}, free=True), inputs, ["a", "b"], at=wide)


def test_broadcast_that_only_the_run_shows() -> None:
    inputs = {"a": noise(2, 3), "s": np.array([2, 3]), "t": np.array([2, 1])}
    body = "d = Expand(a, o)  b = Expand(d, s)  c = ReduceSum<keepdims=1>(b, n)  e = Expand(c, t)  y = Mul(b, e)"
    model = model_of(body, inputs, {"o": np.array([1, 1]), "n": np.array([1])}, free=True)
    for shape in (inputs, {"a": noise(1, 3), "s": np.array([4, 3]), "t": np.array([1, 1])}):
        check(model, inputs, ["a"], at=shape)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0, 3.0, -1.0])
def test_constant_power(exponent) -> None:
    x = noise(2, 3, low=0.5)
    check(model_of("y = Pow(x, e)", {"x": x}, {"e": np.array(exponent)}), {"x": x}, ["x"], tolerance=1e-5)


def test_power_of_a_negative() -> None:
    x = noise(2, 3)
    check(model_of("y = Pow(x, e)", {"x": x}, {"e": np.array(3.0)}), {"x": x}, ["x"], tolerance=1e-5)


@pytest.mark.parametrize("opset", [7, 12])
def test_clip(opset) -> None:
    x = half(noise(3, 4))
    body = "y = Clip<min=-0.5, max=0.7>(x)" if opset < 11 else "y = Clip(x, low, high)"
    weights = {} if opset < 11 else {"low": half(-0.5), "high": half(0.7)}
    check(model_of(body, {"x": x}, weights, opset=opset, dtype="float"), {"x": x}, ["x"], step=1e-3, tolerance=1e-2)


def test_where() -> None:
    inputs = {"a": noise(2, 3), "b": noise(3, seed=1)}
    check(model_of("m = Greater(a, z)  y = Where(m, a, b)", inputs, {"z": np.array(0.0)}), inputs, ["a", "b"])


def test_cast() -> None:
    x = noise(2, 3)
    check(model_of("f = Cast<to=1>(x)  y = Cast<to=11>(f)", {"x": x}, {}), {"x": x}, ["x"], step=1e-2, tolerance=1e-3)


def test_what_has_no_derivative() -> None:
    x = noise(2, 3)
    found = adjoint_of(model_of("y = Floor(x)", {"x": x}, {}), {"x": x}, ["x"])
    assert found.missing == {"x": "no output depends on it through derivatives"}
