"""Sparse initializers, as dense tensors and back."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from spa_cli.graph.model import Array


def dense(tensor: onnx.SparseTensorProto) -> onnx.TensorProto:
    """The same values in a dense tensor of the same name."""
    values, indices = numpy_helper.to_array(tensor.values), numpy_helper.to_array(tensor.indices)
    array = np.zeros(tuple(tensor.dims), values.dtype)
    if indices.ndim == 2:
        array[tuple(indices.T)] = values
    else:
        array.reshape(-1)[indices] = values
    return numpy_helper.from_array(array, tensor.values.name)


def store(tensor: onnx.SparseTensorProto, array: Array) -> None:
    """Make ``tensor`` hold ``array``, in the format it has (linear or per-axis indices)."""
    linear = len(tensor.indices.dims) < 2
    indices = np.flatnonzero(array) if linear else np.argwhere(array)
    values = array[array != 0]
    tensor.CopyFrom(
        helper.make_sparse_tensor(
            numpy_helper.from_array(values, tensor.values.name),
            numpy_helper.from_array(indices.astype(np.int64), tensor.indices.name),
            list(array.shape),
        )
    )
