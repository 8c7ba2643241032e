"""Fused operators: their parts compute what onnxruntime's kernel does, and have the gradients of that."""

import numpy as np
import pytest

from tests.adjoints.differences import adjoint_of, check, half, model_of, noise

MS = {"com.microsoft": 1}
IMAGE = {"x": (1, 2, 4, 4), "w": (3, 2, 3, 3), "b": (3,), "z": (1, 3, 4, 4)}
ROWS = {"x": (2, 3, 4), "s": (2, 3, 4), "g": (4,), "b": (4,), "t": (4,)}
CASES = [
    ('com.microsoft.FusedConv<activation="Relu", pads=[1,1,1,1]>(x, w, b, z)', IMAGE),
    ('com.microsoft.FusedConv<activation="LeakyRelu", activation_params=[0.2], pads=[1,1,1,1]>(x, w)', IMAGE),
    ('com.microsoft.FusedConv<activation="Clip", activation_params=[-1.0, 1.5], pads=[1,1,1,1]>(x, w, b)', IMAGE),
    ('com.microsoft.FusedConv<activation="HardSigmoid", activation_params=[0.2, 0.4], pads=[1,1,1,1]>(x, w)', IMAGE),
    ('com.microsoft.FusedGemm<activation="Relu", transB=1, alpha=0.5>(x, w, b)', {"x": (2, 3), "w": (4, 3), "b": (4,)}),
    (
        'com.microsoft.FusedGemm<activation="LeakyRelu", activation_alpha=0.3>(x, w, b)',
        {"x": (2, 3), "w": (3, 4), "b": (4,)},
    ),
    ("com.microsoft.FusedMatMul<transA=1, transB=1, alpha=0.5>(x, w)", {"x": (2, 3, 2), "w": (2, 4, 3)}),
    ("com.microsoft.FusedMatMul(x, w)", {"x": (2, 3), "w": (3, 4)}),
    ("com.microsoft.BiasGelu(x, b)", {"x": (2, 3), "b": (3,)}),
    ("com.microsoft.Gelu(x)", {"x": (2, 3)}),
    ("com.microsoft.FastGelu(x, b)", {"x": (2, 3), "b": (3,)}),
    ("com.microsoft.FastGelu(x)", {"x": (2, 3)}),
    ("com.microsoft.QuickGelu<alpha=1.5>(x)", {"x": (2, 3)}),
    ("com.microsoft.SkipLayerNormalization<epsilon=1e-5>(x, s, g, b, t)", ROWS),
    ("com.microsoft.SkipLayerNormalization(x, s, g)", ROWS),
    ("com.microsoft.SkipSimplifiedLayerNormalization<epsilon=1e-5>(x, s, g, t)", ROWS),
    ("com.microsoft.SkipSimplifiedLayerNormalization<epsilon=1e-5>(x, s, g)", ROWS),
    ("ScaledTanh<alpha=0.5, beta=2.0>(x)", {"x": (2, 3)}),
    ("ParametricSoftplus<alpha=0.5, beta=2.0>(x)", {"x": (2, 3)}),
    ("Affine<alpha=0.5, beta=2.0>(x)", {"x": (2, 3)}),
    ("ImageScaler<scale=0.5, bias=[1.0, 2.0]>(x)", {"x": (1, 2, 3, 3)}),
    ("Crop<border=[1, 0, 1, 2]>(x)", {"x": (1, 2, 5, 5)}),
    ("Crop<border=[1, 0, 0, 0], scale=[2, 3]>(x)", {"x": (1, 2, 5, 5)}),
]


@pytest.mark.parametrize(("call", "shapes"), CASES, ids=[c.partition("(")[0] for c, _ in CASES])
def test_gradients(call, shapes) -> None:
    read = call.rpartition("(")[2][:-1].split(", ")
    inputs = {n: half(noise(*shapes[n], seed=i)) for i, n in enumerate(read)}
    old = call.split("<")[0] in ("Affine", "ImageScaler", "Crop", "ScaledTanh", "ParametricSoftplus")
    model = model_of(f"y = {call}", inputs, {}, opset=9 if old else 17, dtype="float", domains=None if old else MS)
    # few kinks lie within a small step
    small = "FusedConv" in call
    check(model, inputs, read, step=1e-3 if small else 1e-2, tolerance=1e-2 if small else 3e-3)


def test_the_sum_that_is_normalised_is_an_output() -> None:
    inputs = {n: half(noise(*ROWS[n], seed=i)) for i, n in enumerate("xsgb")}
    body = "y, , , z = com.microsoft.SkipLayerNormalization<epsilon=1e-5>(x, s, g, b)"
    check(model_of(body, inputs, {}, "y z", 17, "float", MS), inputs, list("xsgb"), step=1e-2, tolerance=3e-3)


@pytest.mark.parametrize("masked", [True, False])
def test_embeddings(masked) -> None:
    tables = {n: half(noise(r, 4, seed=r)) for n, r in (("words", 7), ("places", 5), ("kinds", 2))}
    tables |= {"g": half(noise(4, low=0.5)), "b": half(noise(4))}
    ids = {"x": [[1, 6, 2], [3, 3, 0]], "k": [[0, 1, 1], [0, 0, 1]], "m": [[1, 1, 0], [1, 1, 1]]}
    weights = {n: np.array(v, np.int32) for n, v in ids.items()}
    mask = ", m" if masked else ""
    body = f"y, n = com.microsoft.EmbedLayerNormalization<epsilon=1e-5>(x, k, words, places, kinds, g, b{mask})"
    model = model_of(body, tables, weights, opset=17, dtype="float", domains=MS)
    check(model, tables, list(tables), step=1e-3, tolerance=1e-2)


def test_what_is_not_written_out_says_why() -> None:
    inputs = {"x": half(noise(2, 3, 2)), "w": half(noise(2, 2, 4))}
    model = model_of("y = com.microsoft.FusedMatMul<transBatchA=1>(x, w)", inputs, {}, dtype="float", domains=MS)
    assert "has no adjoint here: it transposes batches" in adjoint_of(model, inputs, ["x"]).missing["x"]
    inputs = {n: half(noise(*ROWS[n], seed=i)) for i, n in enumerate("xsg")}
    body = "y, m = com.microsoft.SkipLayerNormalization(x, s, g)"
    found = adjoint_of(model_of(body, inputs, {}, "y m", dtype="float", domains=MS), inputs, ["x"])
    assert "its output 1 is used" in found.missing["x"]
