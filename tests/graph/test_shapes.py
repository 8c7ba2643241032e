"""Shapes and small values, worked out without running the model."""

from __future__ import annotations

import tracemalloc

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import TensorProto, helper, numpy_helper

from spa_cli.analysis import analyse_model
from spa_cli.graph.shapes import MAX_KNOWN, Shapes, constant, interpret
from spa_cli.graph.source import Source
from spa_cli.graph.view import build
from spa_cli.runtime.dimensions import input_shapes
from spa_cli.runtime.load import load
from spa_cli.runtime.made_up import synthetic
from spa_cli.runtime.session import open_session
from tests import architectures
from tests.builders import build as from_text
from tests.samples import SAMPLES, model_path


def _parse(body: str, opset: int = 17, **weights: np.ndarray) -> onnx.ModelProto:
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : {opset}]> g {body}')
    model.graph.initializer.extend(numpy_helper.from_array(v, n) for n, v in weights.items())
    return model


def _interpret(model: onnx.ModelProto, **shapes: tuple[int, ...]) -> Shapes:
    return interpret(build(model, ""), shapes)


@pytest.mark.parametrize("name", SAMPLES)
def test_shapes_are_those_onnxruntime_sees(name) -> None:
    """Every tensor of the model, fetched in one run."""
    source = load(model_path(name))
    analysis = analyse_model(source, {})
    graph, shapes, known = analysis.graph, analysis.input_shapes, analysis.state.shapes
    probe = onnx.ModelProto.FromString(source.model.SerializeToString())
    present = {o.name for o in probe.graph.output}
    tensors = [o for n in graph.nodes for o in n.outputs if o and o not in present and n.op != "ZipMap"]
    probe.graph.output.extend(helper.make_empty_tensor_value_info(t) for t in tensors)
    session = open_session(probe)
    names = [o.name for o in session.get_outputs()]
    found = dict(zip(names, session.run(names, synthetic(graph, shapes)), strict=True))
    for tensor in tensors:
        if tensor in known.shape:
            assert known.shape[tensor] == found[tensor].shape, tensor
        if tensor in known.value:
            np.testing.assert_allclose(known.value[tensor], found[tensor], rtol=1e-4, atol=1e-5)
    assert not known.conflicts
    assert len([t for t in tensors if t in known.shape]) > 0.9 * len(tensors)


def test_shape_arithmetic_is_followed() -> None:
    model = _parse(
        """(float[n, 6, 4] x) => (float[a, b, c] y) {
            s = Shape (x)
            n = Gather <axis = 0> (s, zero)
            n1 = Unsqueeze (n, axis0)
            t = Concat <axis = 0> (n1, rest)
            y = Reshape (x, t)
        }""",
        zero=np.array(0),
        axis0=np.array([0]),
        rest=np.array([2, -1]),
    )
    known = _interpret(model, x=(5, 6, 4))
    assert known.value["t"].tolist() == [5, 2, -1]
    assert known.shape["y"] == (5, 2, 12)


def test_slices_of_shapes_by_attribute() -> None:
    model = _parse("(float[2, 3, 5, 7] x) => (int64[a] y) { y = Shape <start = 1, end = -1> (x) }")
    assert _interpret(model, x=(2, 3, 5, 7)).value["y"].tolist() == [3, 5]


def test_size_of_a_tensor() -> None:
    known = _interpret(_parse("(float[2, 3, 5] x) => (int64 y) { y = Size (x) }"), x=(2, 3, 5))
    assert known.value["y"] == 30
    assert known.shape["y"] == ()


def test_a_shape_that_data_decides_stays_open() -> None:
    known = _interpret(_parse("(float[4] x) => (int64[1, k] y) { y = NonZero (x) }"), x=(4,))
    assert known.shape["y"] == (1, None)
    assert "y" not in known.value


def test_what_follows_a_shape_that_is_unknown_is_unknown() -> None:
    model = _parse("(float[4] x, int64[k] s) => (float[a] z) { y = Reshape (x, s)\n z = Relu (y) }")
    known = _interpret(model, x=(4,), s=(1,))
    assert known.shape.get("y", (None,)) == (None,)


def test_shapes_that_do_not_fit_are_conflicts_named_by_node() -> None:
    known = _interpret(
        _parse("(float[2, 3] x, float[5, 2] w) => (float[a, b] y) { y = MatMul (x, w) }"), x=(2, 3), w=(5, 2)
    )
    assert [n.op for n, _ in known.conflicts] == ["MatMul"]
    assert "y" in known.unknown


def test_operators_of_no_schema_take_the_declared_shape() -> None:
    node = helper.make_node("Frobnicate", ["x"], ["y"], domain="com.example")
    info = {n: helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [2, 3]), ("y", [2, 9]))}
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)]
    graph = helper.make_graph([node], "g", [info["x"]], [info["y"]])
    known = _interpret(helper.make_model(graph, opset_imports=opsets), x=(2, 3))
    assert known.shape["y"] == (2, 9)
    assert not known.unknown


def test_observed_shapes_win() -> None:
    model = _parse("(float[4] x) => (int64[1, k] y) { y = NonZero (x)\n }")
    known = interpret(build(model, ""), {"x": (4,)}, {"y": ((1, 3), TensorProto.INT64)})
    assert known.shape["y"] == (1, 3)


def test_large_weights_are_never_read() -> None:
    graph = build(architectures.bert_base(), "")
    known = interpret(graph, {"input_ids": (1, 128), "attention_mask": (1, 128)})
    assert known.shape["hidden"] == (1, 128, 768)
    assert not known.unknown
    assert all(v.size <= MAX_KNOWN for v in known.value.values())
    assert constant(graph, known, "embeddings.word") is None


def test_random_values_are_not_taken_for_constants() -> None:
    model = _parse("() => (float[2, 3] y) { y = RandomNormal <shape = [2, 3]> () }")
    known = _interpret(model)
    assert known.shape["y"] == (2, 3)
    assert "y" not in known.value


GROWING = {
    "ConstantOfShape": ("z = ConstantOfShape(big)", {"big": [1 << 40, 1 << 40]}),
    "Expand": ("z = Expand(c, big)", {"big": [1 << 40]}),
    "Range": ("z = Range(zero, big, one)", {"zero": 0, "one": 1, "big": 1 << 40}),
    "Range of floats": ("z = Range(zero, big, one)", {"zero": 0.0, "one": 1.0, "big": 1e12}),
    "Tile": ("z = Tile(c, big)", {"big": [1 << 40]}),
    "Pad": ("z = Pad(c, big)", {"big": [0, 1 << 40]}),
    "OneHot": ("z = OneHot(at, big, c)", {"at": [1], "big": 1 << 40}),
    "Resize": ("z = Resize(map, , , big)", {"map": np.ones((1, 1, 2, 2), np.float32), "big": [1, 1, 1 << 20, 1 << 20]}),
    "EyeLike": ("e = ConstantOfShape(big)\n z = EyeLike(e)", {"big": [1 << 23, 1 << 23]}),
    "broadcasting": (
        "a = ConstantOfShape(down)\n b = ConstantOfShape(right)\n z = Add(a, b)",
        {"down": [1 << 16, 1], "right": [1, 1 << 16]},
    ),
}


@pytest.mark.parametrize("name", GROWING)
def test_sizes_that_a_file_asks_for_are_never_made(name) -> None:
    """Neither a value nor an id for every channel of an axis of a million millions."""
    text, values = GROWING[name]
    layers = "h = MatMul(x, wa)\n r = Relu(h)\n y = MatMul(r, wb)"
    c = np.ones(2 if name == "OneHot" else 1, np.float32)
    model = from_text(f"(float[N,8] x) => (y) {{ {layers}\n {text} }}", wa=(8, 16), wb=(16, 4), c=c, **values)
    tracemalloc.start()
    try:
        analysis = analyse_model(Source(model, "m"), {})
        assert tracemalloc.get_traced_memory()[1] < 1 << 29
    finally:
        tracemalloc.stop()
    assert "z" not in analysis.state.shapes.value
    assert [g.channels for g in analysis.grouping.groups if any(m.tensor == "wa" for m in g.members)] == [16]


def test_ranges_of_floats_are_worked_out() -> None:
    model = _parse(
        "(float[1] x) => (float[3] y) { y = Range(a, b, c) }",
        **{name: np.array(value, np.float32) for name, value in (("a", 0), ("b", 1.5), ("c", 0.5))},
    )
    assert _interpret(model, x=(1,)).value["y"].tolist() == [0.0, 0.5, 1.0]


# -- concrete input shapes --------------------------------------------------------------------------------------------


def _inputs(**declared: list[int | str | None]) -> list[dict[str, tuple[int, ...]]]:
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in declared.items()]
    graph = helper.make_graph([], "g", infos, [])
    return list(input_shapes(build(helper.make_model(graph), ""), {}))


def test_fixed_shapes_are_taken_as_they_are() -> None:
    assert all(shapes == {"x": (2, 3, 5)} for shapes in _inputs(x=[2, 3, 5]))


def test_images_and_sequences_get_usual_sizes() -> None:
    first = _inputs(image=["batch", 3, "h", "w"], tokens=["batch", "length"])[0]
    assert first == {"image": (1, 3, 224, 224), "tokens": (1, 16)}


def test_equal_names_get_equal_sizes_and_sums_add_up() -> None:
    first = _inputs(ids=["b", "n"], mask=["b", "past + n"], past=["b", 4, "past", 8])[0]
    assert first["ids"][0] == first["mask"][0] == first["past"][0] == 1
    sizes = _inputs(past=["b", 4, "past", 8], ids=["b", "n"], mask=["b", "past + n"])[0]
    assert sizes["mask"][1] == sizes["past"][2] + sizes["ids"][1]


def test_given_shapes_hold() -> None:
    model = architectures.resnet50()
    dims = model.graph.input[0].type.tensor_type.shape.dim
    for axis, name in ((0, "batch"), (2, "height"), (3, "width")):
        dims[axis].dim_param = name
    analysis = analyse_model(Source(model, "m"), {"image": (2, 3, 160, 160)})
    assert analysis.state.shapes.shape["logits"] == (2, 1000)
    smaller = analyse_model(Source(model, "m"), {"image": (1, 3, 112, 112)}).costs.macs
    assert smaller < 0.35 * analyse_model(Source(model, "m"), {}).costs.macs


def test_sizes_are_tried_until_they_fit() -> None:
    """224 x 224 does not fit 64 flattened features; 32 x 32 does."""
    model = _parse(
        "(float[1, 1, h, w] x) => (float[1, 3] y) { p = AveragePool <kernel_shape = [4, 4], strides = [4, 4]> (x)\n"
        " f = Flatten (p)\n y = MatMul (f, w) }",
        w=np.ones((64, 3), np.float32),
    )
    assert analyse_model(Source(model, "m"), {}).input_shapes == {"x": (1, 1, 32, 32)}
