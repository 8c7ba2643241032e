"""Quantised numbers."""

import numpy as np
import pytest

from tests.adjoints.differences import adjoint_of, check, gradients, model_of, noise


@pytest.mark.parametrize("body", ["r = Identity(q)", "r = Transpose<perm=[1,0]>(q)", "r = Concat<axis=0>(q, q)"])
def test_a_pair_is_the_identity_inside_the_range(body) -> None:
    inputs = {"x": noise(3, 4).astype("float32")}
    scale, zero = np.array(0.01, np.float32), np.array(20, np.int8)
    model = model_of(
        f"q = QuantizeLinear(x, s, z)  {body}  y = DequantizeLinear(r, s, z)",
        inputs,
        {"s": scale, "z": zero},
        dtype="float",
    )
    found = adjoint_of(model, inputs, ["x"])
    assert not found.missing
    shape = {"I": (3, 4), "T": (4, 3), "C": (6, 4)}[body[4]]
    got = gradients(found, inputs, {"y": np.ones(shape, np.float32)})[0]["x"]
    inside = (inputs["x"] > -1.48) & (inputs["x"] < 1.07)
    np.testing.assert_allclose(got, inside * (2 if body[4] == "C" else 1), rtol=1e-5)


def test_operators_on_integers_that_are_not_known_are_missed() -> None:
    """An integer that stands for a number carries a gradient; what computes with it is named."""
    inputs = {"x": noise(3, 4).astype("float32")}
    weights = {"s": np.float32(0.1), "z": np.uint8(9), "t": np.float32(1 / 256), "u": np.uint8(0)}
    body = "q = QuantizeLinear(x, s, z)  p = com.microsoft.QLinearSoftmax<axis=1, opset=13>(q, s, z, t, u)"
    body += "  y = DequantizeLinear(p, t, u)"
    model = model_of(body, inputs, weights, dtype="float", domains={"com.microsoft": 1})
    assert "QLinearSoftmax" in adjoint_of(model, inputs, ["x"]).missing["x"]


@pytest.mark.parametrize("shape", [(), (4,)])
def test_scales_have_the_gradient_of_what_they_multiply(shape) -> None:
    inputs = {"s": noise(*(shape or (1,)), low=0.5).astype("float32").reshape(shape)}
    q, zero = np.arange(12, dtype=np.int8).reshape(3, 4), np.full(shape, 2, np.int8)
    model = model_of("y = DequantizeLinear<axis=1>(q, s, z)", inputs, {"q": q, "z": zero}, dtype="float")
    check(model, inputs, ["s"], step=1e-2, tolerance=2e-3)
