"""Quantised numbers."""

import numpy as np
import pytest

from tests.adjoints.differences import adjoint_of, gradients, model_of, noise


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


def test_integer_products_are_missed() -> None:
    """An integer that stands for a number carries a gradient; what computes with it is named."""
    inputs = {"x": noise(3, 4).astype("float32")}
    body = "q, s, z = DynamicQuantizeLinear(x)  i = MatMulInteger(q, w, z)  f = Cast<to=1>(i)"
    body += "  g = Mul(f, s)  y = Add(g, x)"
    model = model_of(body, inputs, {"w": np.ones((4, 4), np.uint8)}, dtype="float")
    assert "MatMulInteger" in adjoint_of(model, inputs, ["x"]).missing["x"]
