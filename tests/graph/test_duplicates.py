"""Weights stored twice under one name: refused where they differ, one of them where they don't."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper
from onnx.external_data_helper import set_external_data

import spa_cli
from spa_cli.errors import ModelError
from spa_cli.runtime.load import load
from tests.builders import build, inside
from tests.equivalence import assert_same, feeds, run, zeroed

DENSE = "(float[N,16] x) => (y) { a = MatMul(x, wa)  b = Relu(a)  y = MatMul(b, wb) }"
# 96 bytes of weights: onnxruntime holds what is below 128 elsewhere
NARROW = DENSE.replace("16", "4")
BODIES = {
    "If": """(float[N,16] x, bool c) => (float[N,4] y) {
      y = If (c) <then_branch = g () => (float[N,4] p) { a = MatMul(x, wa)  b = Relu(a)  p = MatMul(b, wb) },
                  else_branch = h () => (float[N,4] q) { q = MatMul(x, wc) }>
    }""",
    "Loop": """(float[N,16] x) => (float[N,16] y) {
      y = Loop (two, , x) <body = g (int64 i, bool ci, float[N,16] v) => (bool co, float[N,16] w) {
        co = Identity(ci)  a = MatMul(v, wa)  b = Relu(a)  w = MatMul(b, wb) }>
    }""",
}


def _sparse(array: np.ndarray, name: str) -> onnx.SparseTensorProto:
    at = np.flatnonzero(array)
    values = numpy_helper.from_array(array.reshape(-1)[at], name)
    return helper.make_sparse_tensor(values, numpy_helper.from_array(at, f"{name}_at"), array.shape)


def _again(graph: onnx.GraphProto, kind: str, change: float) -> None:
    """Store ``wa`` a second time, in another way and with other values."""
    old = next(t for t in graph.initializer if t.name == "wa")
    array = numpy_helper.to_array(old) + np.float32(change)
    if kind == "sparse":
        graph.sparse_initializer.append(_sparse(array, "wa"))
    elif kind == "constant":
        value = numpy_helper.from_array(array, "value")
        graph.node.insert(0, helper.make_node("Constant", [], ["wa"], value=value))
    else:
        graph.initializer.append(numpy_helper.from_array(array, "wa"))


KINDS = ["dense", "sparse", "constant"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [6, 64], ids=["small", "large"])
def test_different_values_are_refused(kind, width) -> None:
    model = build(NARROW, wa=(4, width), wb=(width, 4))
    _again(model.graph, kind, 1.0)
    with pytest.raises(ModelError, match=r"'model' stores 'wa' more than once with different values.*; keep one of"):
        spa_cli.prune(model, ratio=0.3, method="l1")


def test_other_types_and_sizes_are_different_values() -> None:
    for other in (np.zeros((16, 8), np.float64), np.zeros((16, 9), np.float32)):
        model = build(DENSE, wa=np.zeros((16, 8), np.float32), wb=(8, 4))
        model.graph.initializer.append(numpy_helper.from_array(other, "wa"))
        with pytest.raises(ModelError, match="'wa' more than once"):
            load(model)


def test_all_of_them_are_named() -> None:
    model = build(DENSE, wa=(16, 8), wb=(8, 4))
    for tensor in list(model.graph.initializer):
        model.graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(tensor) * 2, tensor.name))
    with pytest.raises(ModelError, match="stores 'wa', 'wb' more than once"):
        load(model)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [6, 64], ids=["small", "large"])
@pytest.mark.parametrize("method", ["l1", "obspa"])
def test_the_same_values_are_one_weight(kind, width, method, tmp_path) -> None:
    """onnxruntime takes the last of small weights and the first of large ones."""
    given = 4 if width == 6 else 16
    alone = build(NARROW if width == 6 else DENSE, wa=(given, width), wb=(width, 4))
    model = onnx.ModelProto()
    model.CopyFrom(alone)
    _again(model.graph, kind, 0.0)
    before = model.SerializeToString()
    onnx.save(model, tmp_path / "model.onnx")
    small = spa_cli.prune(tmp_path / "model.onnx", tmp_path / "small.onnx", ratio=0.5, method=method, calib_samples=32)
    onnx.checker.check_model(str(tmp_path / "small.onnx"), full_check=True)
    assert sorted(t.name for t in small.model.graph.initializer) == ["wa", "wb"]
    assert not small.model.graph.sparse_initializer
    assert list(small.plan.kept) == ["wa", "wb"]
    if method == "l1":
        for x in feeds(alone, {"x": (3, given)}, np.random.default_rng(0)):
            assert_same(alone, run(zeroed(alone, small.plan.kept), x), run(small.model, x), 1e-5)
    spa_cli.prune(model, ratio=0.5, method="l1")
    assert model.SerializeToString() == before, "the model that was given is not touched"


def test_values_in_external_files_are_compared(tmp_path) -> None:
    model = build(DENSE, wa=(16, 8), wb=(8, 4))
    first = model.graph.initializer[0]
    for shift, refused in ((0.0, False), (1.0, True)):
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        values = numpy_helper.to_array(first) + np.float32(shift)
        (tmp_path / "weights.bin").write_bytes(values.tobytes())
        copy.graph.initializer.append(first)
        set_external_data(copy.graph.initializer[-1], "weights.bin", 0, values.nbytes)
        copy.graph.initializer[-1].ClearField("raw_data")
        copy.graph.initializer[-1].data_location = onnx.TensorProto.EXTERNAL
        onnx.save(copy, tmp_path / "model.onnx", save_as_external_data=False)
        if refused:
            with pytest.raises(ModelError, match="'wa' more than once"):
                load(tmp_path / "model.onnx")
        else:
            assert len(load(tmp_path / "model.onnx").model.graph.initializer) == 2


@pytest.mark.parametrize("name", BODIES)
def test_bodies_are_scopes_of_their_own(name) -> None:
    """Twice in one body is refused; once inside and once outside are two weights."""
    weights = {"If": {"wc": (16, 4), "wb": (8, 4)}, "Loop": {"two": 2, "wb": (8, 16)}}[name]
    model = inside(build(BODIES[name], wa=(16, 8), **weights))
    (body,) = [
        a.g
        for n in model.graph.node
        for a in n.attribute
        if a.HasField("g") and any(t.name == "wa" for t in a.g.initializer)
    ]
    outside = onnx.ModelProto()
    outside.CopyFrom(model)
    outside.graph.initializer.append(numpy_helper.from_array(np.ones((16, 8), np.float32), "wa"))
    assert spa_cli.prune(outside, ratio=0.3, method="l1").after.params

    for kind in KINDS:
        twice = onnx.ModelProto()
        twice.CopyFrom(model)
        (inner,) = [a.g for n in twice.graph.node for a in n.attribute if a.g.name == body.name]
        _again(inner, kind, 1.0)
        with pytest.raises(ModelError, match="'wa' more than once"):
            load(twice)

    # the same twice: onnxruntime doesn't load it, so it is no model that could be pruned
    _again(body, "dense", 0.0)
    with pytest.raises(Exception, match="not unique"):
        ort.InferenceSession(model.SerializeToString())
    with pytest.raises(ModelError, match="is not a valid ONNX model: wa initializer name is not unique"):
        load(model)
