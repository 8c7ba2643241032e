"""What a model declares of its inputs, and batches of samples in its types."""

from __future__ import annotations

from collections.abc import Container

import numpy as np
import onnx

from spa_cli.graph.model import Array, Graph
from spa_cli.runtime.session import Feeds

_DTYPES: dict[int, type] = {
    onnx.TensorProto.FLOAT: np.float32,
    onnx.TensorProto.DOUBLE: np.float64,
    onnx.TensorProto.FLOAT16: np.float16,
    onnx.TensorProto.INT8: np.int8,
    onnx.TensorProto.UINT8: np.uint8,
    onnx.TensorProto.INT16: np.int16,
    onnx.TensorProto.UINT16: np.uint16,
    onnx.TensorProto.INT32: np.int32,
    onnx.TensorProto.UINT32: np.uint32,
    onnx.TensorProto.INT64: np.int64,
    onnx.TensorProto.UINT64: np.uint64,
    onnx.TensorProto.BOOL: np.bool_,
}


def input_dtype(element: int) -> type:
    """NumPy type of an input."""
    return _DTYPES.get(element, np.float32)


def input_dims(info: onnx.ValueInfoProto) -> list[int | str] | None:
    """Declared dimensions, free ones by name; ``None`` if not even the rank is declared."""
    if not info.type.tensor_type.HasField("shape"):
        return None
    return [
        d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else d.dim_param
        for d in info.type.tensor_type.shape.dim
    ]


def declared(
    info: onnx.ValueInfoProto, shape: tuple[int, ...], free: Container[int] = frozenset()
) -> onnx.ValueInfoProto:
    """An input as if the file declared this shape, ``free`` axes of any size."""
    copy = onnx.ValueInfoProto()
    copy.CopyFrom(info)
    copy.type.tensor_type.shape.SetInParent()
    for axis, size in enumerate(shape):
        dim = copy.type.tensor_type.shape.dim.add()
        if axis not in free:
            dim.dim_value = size
    return copy


def batch_of(data: dict[str, Array], graph: Graph, count: int) -> Feeds:
    """The first ``count`` samples (fewer if the model's batch is fixed), in the model's types."""
    feeds: Feeds = {}
    for name, array in data.items():
        dims = input_dims(graph.inputs[name])
        fixed = dims[0] if dims and isinstance(dims[0], int) else None
        dtype = _DTYPES.get(graph.inputs[name].type.tensor_type.elem_type)
        batch = np.ascontiguousarray(array[0] if dims == [] else array[: fixed or count])
        feeds[name] = batch if dtype is None else batch.astype(dtype)
    return feeds
