"""Weights as inputs of the gradient graph."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from spa_cli.adjoints.weights import WeightGradients, weight_gradients
from spa_cli.graph.shapes import interpret
from spa_cli.graph.sparse import store
from spa_cli.graph.view import build as view
from spa_cli.runtime.session import open_session
from tests.adjoints.differences import model_of, noise


def opened(model, inputs, weights, outputs=None) -> WeightGradients:
    graph = view(model, "")
    shapes = interpret(graph, {name: array.shape for name, array in inputs.items()})
    return weight_gradients(graph, shapes, weights, outputs or graph.outputs)


def check(found, inputs, weights, step=1e-3, tolerance=1e-2) -> None:
    """Gradients at ``weights`` are those of finite differences of the outputs there."""
    rng = np.random.default_rng(1)
    outputs = found.outputs(inputs, weights)
    cotangents = {n: rng.standard_normal(y.shape).astype(y.dtype) for n, y in outputs.items()}
    got = found.run(inputs, cotangents, weights)
    assert got.keys() == weights.keys()
    for name, weight in weights.items():
        assert got[name].shape == weight.shape
        direction = rng.standard_normal(weight.shape)
        sides = []
        for sign in (1, -1):
            moved = found.outputs(inputs, {**weights, name: weight + sign * step * direction})
            sides.append(sum(float(np.sum(cotangents[o].astype(np.float64) * y)) for o, y in moved.items()))
        expected = (sides[0] - sides[1]) / (2 * step)
        assert np.sum(got[name].astype(np.float64) * direction) == pytest.approx(expected, rel=tolerance, abs=tolerance)


def single(*shape, **more) -> np.ndarray:
    return noise(*shape, **more).astype(np.float32)


def test_weights_may_change_between_runs() -> None:
    """Nothing is kept of the values in the file: the convolution's adjoint turns the weight it is given."""
    inputs = {"x": single(2, 3, 5, 4)}
    weights = {"w": single(4, 3, 3, 3, seed=1), "v": single(2, 4, 3, 3, seed=2), "b": single(4, seed=3)}
    body = "a = Conv<pads=[1,1,1,1]>(x, w, b)  t = Tanh(a)  y = Conv(t, v)"
    found = opened(model_of(body, inputs, weights, opset=13, dtype="float"), inputs, weights)
    start = found.start()
    assert not found.missing and all(np.array_equal(start[n], w) for n, w in weights.items())
    for moved in (start, {n: 0.3 * w[::-1].copy() for n, w in start.items()}):
        check(found, inputs, moved)


@pytest.mark.parametrize("opset", [11, 17])
def test_outputs_are_those_of_the_model(opset) -> None:
    inputs, weights = {"x": single(2, 3)}, {"w": single(3, 4, seed=1)}
    model = model_of("a = MatMul(x, w)  y = Softmax<axis=1>(a)", inputs, weights, opset=opset, dtype="float")
    found = opened(model, inputs, weights)
    np.testing.assert_array_equal(found.outputs(inputs, found.start())["y"], open_session(model).run(None, inputs)[0])


def test_other_batches_and_outputs_without_cotangents() -> None:
    inputs, weights = {"x": noise(2, 3)}, {"w": noise(3, 4, seed=1)}
    model = model_of("a = MatMul(x, w)  y = Tanh(a)  z = Exp(a)", inputs, weights, "y z", free=True)
    found = opened(model, inputs, ["w"])
    x, ones = noise(5, 3, seed=7), np.ones((5, 4))
    got = found.run({"x": x}, {"z": ones}, weights)["w"]
    np.testing.assert_allclose(got, x.T @ np.exp(x @ weights["w"]), rtol=1e-9)
    assert got.dtype == np.float64


def test_shared_and_transposed_weights_and_constants() -> None:
    inputs, weights = {"x": single(2, 3)}, {"w": single(3, 3, seed=1)}
    body = "t = Transpose<perm=[1,0]>(w)  a = MatMul(x, w)  b = Mul(a, c)  y = MatMul(b, t)"
    model = model_of(body, inputs, weights, dtype="float")
    constant = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(single(3, seed=2)))
    model.graph.node.insert(0, constant)
    found = opened(model, inputs, ["w", "c"])
    assert found.names == ("w", "c")
    check(found, inputs, found.start())


def test_sparse_weights_and_those_listed_as_inputs() -> None:
    inputs, weights = {"x": single(2, 3)}, {"v": single(4, 2, seed=2)}
    model = model_of("a = MatMul(x, w)  y = MatMul(a, v)", inputs, weights, dtype="float")
    sparse, array = model.graph.sparse_initializer.add(), single(3, 4, seed=1) * np.eye(3, 4, dtype=np.float32)
    sparse.values.name = "w"
    store(sparse, array)
    model.graph.input.append(helper.make_tensor_value_info("v", 1, (4, 2)))
    found = opened(model, inputs, ["w", "v"])
    np.testing.assert_array_equal(found.start()["w"], array)
    check(found, inputs, found.start())


def test_half_precision_is_single_precision() -> None:
    inputs, array = {"x": single(2, 3)}, single(3, 4, seed=1).astype(np.float16)
    model = model_of(
        "h = Cast<to=10>(x)  a = MatMul(h, w)  b = Mul(a, c)  y = Cast<to=1>(b)", inputs, {"w": array}, dtype="float"
    )
    constant = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.full(4, 0.5, np.float16)))
    model.graph.node.insert(0, constant)
    before = model.SerializeToString()
    found = opened(model, inputs, ["w"])
    assert model.SerializeToString() == before
    got = found.run(inputs, {"y": np.full((2, 4), 1e-6, np.float32)}, found.start())["w"]
    np.testing.assert_allclose(got, np.repeat(inputs["x"].sum(0)[:, None] * 0.5e-6, 4, 1), rtol=1e-5)


def test_integers_that_stand_for_weights() -> None:
    """By the number that is stored, fed as a number and rounded to what the file can hold."""
    inputs = {"x": single(2, 3)}
    stored, scale = np.array([[1, -2], [100, -128], [3, 50]], np.int8), np.array([0.5, 0.25], np.float32)
    model = model_of(
        "v = DequantizeLinear<axis=1>(w, s)  y = MatMul(x, v)", inputs, {"w": stored, "s": scale}, dtype="float"
    )
    found = opened(model, inputs, ["w"])
    start = found.start()["w"]
    assert start.dtype == np.float32
    moved = start + 0.4
    moved[1, 0] = 1000
    clipped = np.where(moved == 1000, 127, stored)
    np.testing.assert_allclose(found.outputs(inputs, {"w": moved})["y"], inputs["x"] @ (clipped * scale), rtol=1e-6)
    got = found.run(inputs, {"y": np.ones((2, 2), np.float32)}, {"w": moved})["w"]
    np.testing.assert_allclose(got, inputs["x"].sum(0)[:, None] * scale, rtol=1e-6)


def test_weights_without_a_gradient_are_named_and_stay_constants() -> None:
    inputs = {"x": single(2, 3)}
    weights = {"w": single(3, 3, seed=1), "h": single(3, 3, seed=2), "z": np.float32(0)}
    body = """a = MatMul(x, h)  b = Hardmax(a)  c = MatMul(b, w)  m = ReduceMax<keepdims=0>(x)  d = Greater(m, z)
      e = If(d) <
        then_branch = t () => (float[] r) { u = Constant<value = float[3] {1.0, 2.0, 3.0}>()  r = Add(u, u) },
        else_branch = f () => (float[] s) { v = Constant<value = float[3] {1.0, 2.0, 3.0}>()  s = Exp(v) }
      >
      y = Add(c, e)"""
    found = opened(model_of(body, inputs, weights, dtype="float"), inputs, ["w", "h", "u", "nothing"])
    assert found.names == ("w",)
    assert found.missing == {
        "u": "it lies inside a body of a control-flow node",
        "nothing": "it is no weight of the model",
        "h": "operator Hardmax (node 'Hardmax->b') has no adjoint here: it is a step",
    }
    check(found, inputs, found.start())


def test_weights_in_external_files(tmp_path) -> None:
    inputs, weights = {"x": single(2, 300)}, {"w": single(300, 4, seed=1), "v": single(4, 300, seed=2)}
    model = model_of("a = MatMul(x, w)  y = MatMul(a, v)", inputs, weights, dtype="float")
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0, location="m.data")
    graph = view(onnx.load(tmp_path / "m.onnx", load_external_data=False), str(tmp_path))
    found = weight_gradients(graph, interpret(graph, {"x": (2, 300)}), ["w"], ["y"])
    ones = np.ones((2, 300), np.float32)
    got = found.run(inputs, {"y": ones}, found.start())["w"]
    np.testing.assert_allclose(got, inputs["x"].T @ (ones @ weights["v"].T), rtol=1e-4, atol=1e-4)


def test_numbers_that_are_packed_are_named_and_their_scales_have_gradients() -> None:
    """What lies before the product has its gradients all the same."""
    packed = np.random.default_rng(0).integers(0, 256, (3, 2, 8)).astype(np.uint8)
    inputs = {"x": single(2, 5)}
    weights = {"v": single(5, 20, seed=1), "s": single(6, low=0.1), "z": np.array([[0x87], [0x18], [0x77]], np.uint8)}
    body = "a = MatMul(x, v)  y = com.microsoft.MatMulNBits<K=20, N=3, bits=4, block_size=16>(a, b, s, z)"
    model = model_of(body, inputs, {**weights, "b": packed}, dtype="float", domains={"com.microsoft": 1})
    found = opened(model, inputs, ["v", "s", "b"])
    assert found.missing == {"b": "its numbers are packed, several to a byte"}
    check(found, inputs, found.start())
    again, outputs = (by(inputs, found.start())["y"] for by in (found.recomputed, found.outputs))
    np.testing.assert_allclose(again, outputs, rtol=1e-4, atol=1e-4)
