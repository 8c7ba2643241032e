"""Shapes that the values stored do not fill, and sizes that no bytes stand for."""

from __future__ import annotations

import re
import tracemalloc

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from spa_cli.errors import ModelError
from spa_cli.graph.stored import bytes_of
from spa_cli.runtime.load import load
from tests.builders import build
from tests.graph.files import dense


def _changed(**said: object) -> onnx.ModelProto:
    model = dense()
    tensor = model.graph.initializer[0]
    if "dims" in said:
        tensor.dims[:] = said["dims"]
    if "raw" in said:
        tensor.raw_data = said["raw"]
    if "values" in said:
        tensor.ClearField("raw_data")
        tensor.float_data.extend([1.0] * said["values"])
    if "kind" in said:
        tensor.data_type = said["kind"]
    return model


WRONG = {
    "bytes missing": (
        {"raw": b"\0" * 1020},
        "'w1' in 'model' has shape [8, 32], which is 1024 bytes, and 1020 are stored",
    ),
    "bytes left over": ({"raw": b"\0" * 1028}, "which is 1024 bytes, and 1028 are stored; download or export it again"),
    "values missing": ({"values": 255}, "which is 256 values, and 255 are stored"),
    "values left over": ({"values": 257}, "which is 256 values, and 257 are stored"),
    "nothing": ({"values": 0}, "which is 256 values, and 0 are stored"),
    "terabytes": ({"dims": [1 << 40, 1 << 40]}, "which is 4835703278458516698824704 bytes, and 1024 are stored"),
    "a negative size": ({"dims": [8, -32]}, "'w1' in 'model' has sizes [8, -32], and no size is negative; export"),
    "two negative sizes": ({"dims": [-8, -32]}, "and no size is negative; export"),
    "no type": ({"kind": 0}, "'w1' in 'model' has type 0, which ONNX does not have; export again"),
    "an unknown type": ({"kind": 99}, "has type 99, which ONNX does not have; export again"),
    "another type": ({"kind": TensorProto.DOUBLE}, "which is 2048 bytes, and 1024 are stored"),
    "text": ({"kind": TensorProto.STRING}, "which is 256 values, and 0 are stored"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fill_its_shape_is_refused(case) -> None:
    said, text = WRONG[case]
    model = _changed(**said)
    with pytest.raises(Exception, match=r"\[ONNXRuntimeError\]"):
        ort.InferenceSession(model.SerializeToString())
    with pytest.raises(ModelError, match=re.escape(text)):
        load(model)


@pytest.mark.parametrize("word", sorted({*dict(TensorProto.DataType.items())} - {"UNDEFINED", "STRING"}))
def test_every_type_is_as_large_as_onnx_stores_it(word) -> None:
    """Raw and in fields, an odd number of values."""
    kind = TensorProto.DataType.Value(word)
    fields = helper.make_tensor("v", kind, [3], [1 + 1j if word.startswith("COMPLEX") else 1] * 3)
    raw = numpy_helper.from_array(numpy_helper.to_array(fields), "v")
    assert bytes_of(raw) == len(raw.raw_data)
    for tensor in (fields, raw):
        model = dense()
        model.opset_import[0].version, model.ir_version = 25, 11
        model.graph.node.append(helper.make_node("Constant", [], ["v"], value=tensor))
        load(model)
    fields.dims[0] = raw.dims[0] = 7
    for tensor in (fields, raw):
        model.graph.node[-1].attribute[0].t.CopyFrom(tensor)
        with pytest.raises(ModelError, match=r"'v' in 'model' has shape \[7\]"):
            load(model)


def _sparse(values: list[float], places: list[object], dims: list[int], linear: bool = True) -> onnx.ModelProto:
    model = build("(float[N,8] x) => (y) { y = MatMul(x, w) }", w=(8, 64))
    del model.graph.initializer[:]
    at = numpy_helper.from_array(np.array(places, np.int64), "places")
    sparse = helper.make_sparse_tensor(numpy_helper.from_array(np.array(values, np.float32), "w"), at, dims)
    model.graph.sparse_initializer.append(sparse)
    return model


SPARSE = {
    "outside": (([1, 2], [3, 512], [8, 64]), "'w' in 'model' has values outside of its shape [8, 64]; export it again"),
    "negative": (([1, 2], [-1, 5], [8, 64]), "has values outside of its shape"),
    "outside by axis": (([1, 2], [[3, 9], [8, 1]], [8, 64]), "has values outside of its shape"),
    "too many places": (([1, 2], [3, 9, 11], [8, 64]), "has values outside of its shape"),
    "places of another rank": (([1, 2], [[3, 9, 1], [1, 1, 1]], [8, 64]), "has values outside of its shape"),
    "terabytes": (([1, 2], [3, 9], [8, 1 << 36]), "which the 24 bytes that are stored can't be meant for; export"),
    "negative sizes": (([1, 2], [3, 9], [-8, -64]), "and no size is negative"),
}


@pytest.mark.parametrize("case", SPARSE)
def test_sparse_tensors_are_checked_before_they_are_made_dense(case) -> None:
    arguments, text = SPARSE[case]
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match=re.escape(text)):
            load(_sparse(*arguments))
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()


def test_sparse_tensors_that_are_right_are_taken() -> None:
    for places in ([3, 9], [[0, 3], [2, 9]]):
        array = load(_sparse([1, 2], places, [8, 64])).graph.array("w")
        assert np.count_nonzero(array) == 2


def test_a_sparse_tensor_in_a_file_is_refused(tmp_path) -> None:
    model = _sparse([1, 2], [3, 9], [8, 64])
    values = model.graph.sparse_initializer[0].values
    values.ClearField("raw_data")
    values.data_location = TensorProto.EXTERNAL
    values.external_data.add(key="location", value="/etc/hostname")
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=r"sparse tensor 'w' in 'm.onnx' lies in an external file; keep it in the"):
        load(tmp_path / "m.onnx")
