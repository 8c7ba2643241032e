"""Normalisations."""

import pytest

from tests.adjoints.differences import adjoint_of, check, model_of, noise

# operator set, nodes, inputs beside x
CASES = [
    (15, "y = BatchNormalization<epsilon=0.01>(x, s, b, m, v)", (2, 3, 2, 2), "s b m v"),
    (17, "y = LayerNormalization<axis=-1>(x, s)", (2, 3, 4), "s4"),
    (17, "y = LayerNormalization<axis=1, epsilon=0.1>(x, s, b)", (2, 3, 2), "s32 b32"),
    (13, "y = InstanceNormalization<epsilon=0.01>(x, s, b)", (2, 3, 3, 2), "s b"),
    (18, "y = GroupNormalization<num_groups=2, epsilon=0.01>(x, s, b)", (2, 4, 3), "s2- b2-"),
    (21, "y = GroupNormalization<num_groups=2, epsilon=0.01>(x, s, b)", (2, 4, 3), "s4- b4-"),
    (23, "y = RMSNormalization(x, s)", (2, 3, 4), "s4"),
    (13, "y = LpNormalization<axis=1>(x)", (2, 3), ""),
    (13, "y = LpNormalization<axis=1, p=1>(x)", (2, 3), ""),
    (13, "y = LRN<size=3, alpha=0.5, bias=2.0>(x)", (2, 5, 2, 2), ""),
    (13, "y = MeanVarianceNormalization(x)", (2, 3, 2, 2), ""),
]


@pytest.mark.parametrize(("opset", "body", "shape", "more"), CASES)
def test_norm(opset, body, shape, more) -> None:
    inputs = {"x": noise(*shape).astype("float32")}
    sizes = {"x": shape}
    for item in more.split():
        dims = [int(d) for d in item[1:].rstrip("-")] or [shape[1]]
        sizes[item[0]] = tuple(dims)
        inputs[item[0]] = noise(*dims, seed=1, low=0.3).astype("float32")
    model = model_of(body, inputs, {}, opset=opset, dtype="float")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    check(
        model, inputs, list(inputs), {**inputs, "x": noise(3, *shape[1:]).astype("float32")}, step=3e-3, tolerance=1e-2
    )


def test_measured_statistics() -> None:
    inputs = {"x": noise(2, 3, 2)}
    weights = {n: noise(3, seed=i, low=0.5) for i, n in enumerate("sbmv")}
    model = model_of("y, n, w = BatchNormalization<training_mode=1>(x, s, b, m, v)", inputs, weights)
    assert "measures" in adjoint_of(model, inputs, ["x"]).missing["x"]
