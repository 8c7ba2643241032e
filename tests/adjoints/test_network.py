"""Whole graphs."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from spa_cli.adjoints.network import adjoint
from spa_cli.analysis import analyse_model
from spa_cli.runtime.load import load
from spa_cli.runtime.made_up import synthetic
from spa_cli.runtime.session import open_session
from tests.adjoints.differences import adjoint_of, check, model_of, noise

SAMPLES = Path(__file__).parents[2] / "sample_models"


def test_several_readers_add_up() -> None:
    inputs = {"x": noise(2, 3)}
    check(
        model_of("a = Exp(x)  b = Mul(a, x)  d = Mul(b, b)  y = Add(d, a)", inputs, {}), inputs, ["x"], tolerance=1e-5
    )


def test_several_outputs() -> None:
    inputs = {"x": noise(2, 3), "w": noise(3, 2, seed=1)}
    check(
        model_of("a = MatMul(x, w)  b = Exp(a)  d = Tanh(b)", inputs, {}, "a b d"), inputs, ["x", "w"], tolerance=1e-5
    )


def test_a_wanted_output_has_its_own_cotangent() -> None:
    inputs = {"x": noise(2, 3)}
    found = adjoint_of(model_of("a = Exp(x)  b = Tanh(a)", inputs, {}, "a b"), inputs, ["a"])
    assert found.gradients == {"a": "gradient/a"}


def test_outputs_come_before_gradients() -> None:
    inputs = {"x": noise(2, 3)}
    model = model_of("a = Exp(x)  b = Tanh(a)  d = Sin(x)", inputs, {}, "a b d")
    found = adjoint_of(model, inputs, ["x", "a"], ["d", "b"])
    assert [o.name for o in found.model.graph.output] == ["d", "b", "gradient/x", "gradient/a"]
    assert [i.name for i in found.model.graph.input] == ["x", "cotangent/d", "cotangent/b"]
    assert found.cotangents == {"d": "cotangent/d", "b": "cotangent/b"}
    assert [i.name for i in model.graph.input] == ["x"], "the model itself stays as it is"


def test_a_path_without_a_rule_is_no_gradient() -> None:
    """Also if there is another path; what lies behind has one."""
    inputs = {"x": noise(2, 3)}
    body = "a = Exp(x)  h = Hardmax(a)  d = Tanh(a)  e = Add(h, d)  y = Sin(e)"
    found = adjoint_of(model_of(body, inputs, {}), inputs, ["x", "a", "d", "h"])
    assert set(found.gradients) == {"d", "h"}
    assert "operator Hardmax (node 'Hardmax->h')" in found.missing["x"] and found.missing["x"] == found.missing["a"]


def test_an_index_is_no_path() -> None:
    inputs = {"x": noise(2, 3)}
    body = "i = ArgMax<axis=1, keepdims=1>(x)  y = GatherElements<axis=1>(x, i)"
    check(model_of(body, inputs, {}), inputs, ["x"])


def test_bodies_are_missing() -> None:
    inputs = {"x": noise(2, 3)}
    body = """m = ReduceMax<keepdims=0>(x)  c = Greater(m, z)
      y = If(c) <
        then_branch = t () => (double[] r) { r = Exp(x) },
        else_branch = e () => (double[] r) { r = Tanh(x) }
      >"""
    found = adjoint_of(model_of(body, inputs, {"z": np.array(0.0)}), inputs, ["x"])
    assert "operator If" in found.missing["x"]


def test_what_nothing_depends_on() -> None:
    inputs = {"x": noise(2, 3), "u": noise(2, 3)}
    found = adjoint_of(model_of("a = Exp(u)  y = Tanh(x)", inputs, {}), inputs, ["u", "x"])
    assert found.missing == {"u": "no output depends on it through derivatives"}
    assert "a" not in {o for n in found.model.graph.node for o in n.output}


def test_old_operator_sets() -> None:
    inputs = {"x": noise(2, 3)}
    model = model_of("y = Exp(x)", inputs, {}, opset=6)
    found = adjoint_of(model, inputs, ["x"])
    assert found.missing == {"x": "opset 6 is too old; adjoints are known from opset 7 on"}


@pytest.mark.parametrize("name", ["lstm", "mixer", "mlp", "mobilenet", "resnet", "vit"])
def test_sample_models(name) -> None:
    """Along a random direction behind an inner tensor; the outputs are those of the model."""
    analysis = analyse_model(load(str(SAMPLES / f"digits_{name}.onnx")), {})
    graph, shapes = analysis.graph, analysis.state.shapes
    layers = [n.outputs[0] for n in graph.nodes if n.op in ("Conv", "MatMul", "Gemm", "LSTM")]
    outputs = [o for o in graph.outputs if shapes.dtype[o] == onnx.TensorProto.FLOAT]
    found = adjoint(graph, shapes, layers, outputs)
    assert not found.missing
    rng = np.random.default_rng(0)
    feeds = {n: 0.05 * v for n, v in synthetic(graph, analysis.input_shapes, 0).items()}
    before = open_session(graph.in_memory()).run(outputs, feeds)
    cotangents = [rng.standard_normal(b.shape).astype(b.dtype) for b in before]
    session = open_session(found.model)
    given = {found.cotangents[o]: c for o, c in zip(outputs, cotangents, strict=True)}
    values = dict(zip([o.name for o in session.get_outputs()], session.run(None, {**feeds, **given}), strict=True))
    for output, value in zip(outputs, before, strict=True):
        np.testing.assert_array_equal(values[output], value)
    for layer in (layers[0], layers[len(layers) // 2]):
        gradient = values[found.gradients[layer]].astype(np.float64)
        model, direction = _moved(graph.in_memory(), layer), rng.standard_normal(gradient.shape)
        direction += gradient / np.sqrt(np.square(gradient).mean())
        moved = open_session(model)

        def at(step, moved=moved, direction=direction) -> float:
            results = moved.run(outputs, {**feeds, "move": (step * direction).astype(np.float32)})
            return sum(float(np.sum(c.astype(np.float64) * r)) for c, r in zip(cotangents, results, strict=True))

        expected = float(np.sum(gradient * direction))
        # a small step crosses few kinks, a large one is less of rounding
        slopes = [(at(step) - at(-step)) / (2 * step) for step in (1e-3, 2e-4, 5e-5)]
        assert min(abs(slope / expected - 1) for slope in slopes) < 0.02


def _moved(model, tensor) -> onnx.ModelProto:
    """The model with an input ``move`` that is added to a tensor."""
    place = next(i for i, n in enumerate(model.graph.node) if tensor in n.output)
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            if name == tensor:
                node.input[i] = "moved"
    model.graph.node.insert(place + 1, helper.make_node("Add", [tensor, "move"], ["moved"]))
    model.graph.input.append(helper.make_tensor_value_info("move", onnx.TensorProto.FLOAT, None))
    return model
