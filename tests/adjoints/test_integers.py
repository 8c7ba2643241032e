"""Operators on integers: straight through, their gradients are those of the numbers that the integers stand for."""

import numpy as np
import pytest

from spa_cli.runtime.session import open_session
from tests.adjoints.differences import adjoint_of, gradients, model_of, noise

MS = {"com.microsoft": 1}
RNG = np.random.default_rng(0)
# per scale and zero point: of what goes in, of what comes out
SCALES = {"s": np.float32(0.02), "z": np.uint8(120), "t": np.float32(0.1), "u": np.uint8(128)}
QUANTISE = "q = QuantizeLinear(x, s, z)  "
BACK = "  y = DequantizeLinear(r, t, u)"
PER = {"a": np.array([0.01, 0.02, 0.015], np.float32), "b": np.zeros(3, np.int8)}


def int8(*shape) -> np.ndarray:
    return RNG.integers(-100, 100, shape).astype(np.int8)


# body on integers, body on numbers, the shape of x, weights; where there is one, w is a*(w - b) in the second
CASES = {
    "QLinearConv": (
        f"{QUANTISE}r = QLinearConv<pads=[1,1,1,1]>(q, s, z, w, a, b, t, u, c){BACK}",
        "y = Conv<pads=[1,1,1,1]>(x, w, c)",
        (1, 2, 4, 4),
        {"w": int8(3, 2, 3, 3), "c": np.array([50, -90, 20], np.int32)},
        (3, 1, 1, 1),
    ),
    "QLinearMatMul": (
        f"{QUANTISE}r = QLinearMatMul(q, s, z, w, a, b, t, u){BACK}",
        "y = MatMul(x, w)",
        (4, 5),
        {"w": int8(5, 3)},
        (3,),
    ),
    "QGemm": (
        f"{QUANTISE}r = com.microsoft.QGemm<transB=1>(q, s, z, w, a, b, c, t, u){BACK}",
        "y = Gemm<transB=1>(x, w, c)",
        (4, 5),
        {"w": int8(3, 5), "c": np.array([50, -90, 20], np.int32)},
        (3, 1),
    ),
    "MatMulInteger": (
        f"{QUANTISE}i = MatMulInteger(q, w, z, b)  f = Cast<to=1>(i)  g = Mul(f, s)  y = Mul(g, a)",
        "y = MatMul(x, w)",
        (4, 5),
        {"w": int8(5, 3)},
        (3,),
    ),
    "dynamic": (
        "q, d, e = DynamicQuantizeLinear(x)  i = MatMulInteger(q, w, e)  f = Cast<to=1>(i)"
        "  g = Mul(f, d)  y = Mul(g, a)",
        "y = MatMul(x, w)",
        (4, 5),
        {"w": int8(5, 3)},
        (3,),
    ),
    "ConvInteger": (
        f"{QUANTISE}i = ConvInteger(q, w, z)  f = Cast<to=1>(i)  y = Mul(f, s)",
        "y = Conv(x, w)",
        (1, 2, 4, 4),
        {"w": int8(3, 2, 3, 3)},
        None,
    ),
    "DynamicQuantizeMatMul": (
        "y = com.microsoft.DynamicQuantizeMatMul(x, w, a, b)",
        "y = MatMul(x, w)",
        (4, 5),
        {"w": int8(5, 3)},
        (3,),
    ),
    "QLinearAdd": (
        f"{QUANTISE}r = com.microsoft.QLinearAdd(q, s, z, q, s, z, t, u){BACK}",
        "y = Add(x, x)",
        (3, 4),
        {},
        None,
    ),
    "QLinearMul": (
        f"{QUANTISE}r = com.microsoft.QLinearMul(q, s, z, q, s, z, t, u){BACK}",
        "y = Mul(x, x)",
        (3, 4),
        {},
        None,
    ),
    "QLinearGlobalAveragePool": (
        f"{QUANTISE}r = com.microsoft.QLinearGlobalAveragePool(q, s, z, t, u){BACK}",
        "y = GlobalAveragePool(x)",
        (1, 2, 4, 4),
        {},
        None,
    ),
    "QLinearAveragePool": (
        f"{QUANTISE}r = com.microsoft.QLinearAveragePool<kernel_shape=[2,2]>(q, s, z, t, u){BACK}",
        "y = AveragePool<kernel_shape=[2,2]>(x)",
        (1, 2, 4, 4),
        {},
        None,
    ),
    "QLinearConcat": (
        f"{QUANTISE}r = com.microsoft.QLinearConcat<axis=1>(t, u, q, s, z, q, s, z){BACK}",
        "y = Concat<axis=1>(x, x)",
        (3, 4),
        {},
        None,
    ),
    "QLinearSigmoid": (
        f"{QUANTISE}r = com.microsoft.QLinearSigmoid(q, s, z, t, u){BACK}",
        "y = Sigmoid(x)",
        (3, 4),
        {},
        None,
    ),
    "QLinearLeakyRelu": (
        f"{QUANTISE}r = com.microsoft.QLinearLeakyRelu<alpha=0.2>(q, s, z, t, u){BACK}",
        "y = LeakyRelu<alpha=0.2>(x)",
        (3, 4),
        {},
        None,
    ),
    "max pooling": (
        f"{QUANTISE}r = MaxPool<kernel_shape=[2,2]>(q)  y = DequantizeLinear(r, s, z)",
        "y = MaxPool<kernel_shape=[2,2]>(x)",
        (1, 2, 4, 4),
        {},
        None,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_straight_through(name) -> None:
    body, plain, shape, weights, per = CASES[name]
    scale = np.float32(1) if per is None else PER["a"].reshape(per)
    inputs = {"x": noise(*shape).astype(np.float32)}
    numbers = {n: w * scale if n == "w" else w * PER["a"] * SCALES["s"] for n, w in weights.items()}
    numbers = {n: w.astype(np.float32) for n, w in numbers.items()}
    fed = {n: w for n, w in weights.items() if n == "w"}
    # both differ by rounding only: the float model at what the integers stand for
    model = model_of(body, {**inputs}, {**weights, **SCALES, **PER}, opset=13, dtype="float", domains=MS)
    inner = model_of(
        plain,
        {**inputs, **{n: numbers[n] for n in fed}},
        {n: w for n, w in numbers.items() if n != "w"},
        opset=13,
        dtype="float",
    )
    for array in fed:
        info = model.graph.input.add()
        info.name, info.type.tensor_type.elem_type = array, 3
        info.type.tensor_type.shape.SetInParent()
        for size in fed[array].shape:
            info.type.tensor_type.shape.dim.add().dim_value = size
    kept = [t for t in model.graph.initializer if t.name not in fed]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    whole, parts = {**inputs, **fed}, {**inputs, **{n: numbers[n] for n in fed}}
    (y,), (wanted,) = open_session(model).run(None, whole), open_session(inner).run(None, parts)
    np.testing.assert_allclose(y, wanted, atol=0.08 * max(np.abs(wanted).max(), 1))
    cotangents = {"y": RNG.standard_normal(y.shape).astype(np.float32)}
    found = adjoint_of(model, whole, list(whole))
    assert not found.missing
    got, values = gradients(found, whole, cotangents)
    # a kernel may round the other way
    np.testing.assert_allclose(values["y"], y, atol=0.11)
    expected, _ = gradients(adjoint_of(inner, parts, list(parts)), parts, cotangents)
    np.testing.assert_allclose(got["x"], expected["x"], rtol=0.05, atol=0.05 * np.abs(expected["x"]).max())
    for w in fed:
        np.testing.assert_allclose(
            got[w], expected[w] * scale, rtol=0.05, atol=0.05 * np.abs(expected[w] * scale).max()
        )
