"""What a file stores of its tensors, against what it says of them: nothing is made by sizes that no bytes stand for."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.external_data_helper import uses_external_data

from spa_cli.errors import ModelError
from spa_cli.graph.bodies import all_nodes, graphs

# a sparse tensor may be so much larger than what is stored of it, and all of them together by so many bytes
_SPARSE_TIMES, _SPARSE_FREE = 1000, 1 << 26


def _by_name(word: str) -> int:
    """Bits that a value takes, 0 if that differs from one to the next (text)."""
    said = re.match(r"[A-Z]+?(\d+)", word)
    return int(said[1]) if said else {"FLOAT": 32, "DOUBLE": 64, "STRING": 0}.get(word, 8)


_BITS = {number: _by_name(word) for word, number in onnx.TensorProto.DataType.items() if word != "UNDEFINED"}


def every_tensor(model: onnx.ModelProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    """All dense tensors of a model, in bodies and local functions too, each with what to call it."""
    for place in graphs(model.graph):
        yield from ((t.name, t) for t in place.initializer)
    for node in _every_node(model):
        for attribute in node.attribute:
            called = f"{attribute.name} of {node.name or node.op_type}"
            for tensor in ([attribute.t] if attribute.HasField("t") else []) + list(attribute.tensors):
                yield (node.output[0] if node.op_type == "Constant" and node.output else tensor.name or called), tensor


def every_sparse(model: onnx.ModelProto) -> Iterator[tuple[str, onnx.SparseTensorProto]]:
    """All sparse tensors of a model, each with what to call it."""
    for place in graphs(model.graph):
        yield from ((s.values.name, s) for s in place.sparse_initializer)
    for node in _every_node(model):
        for attribute in node.attribute:
            called = node.output[0] if node.op_type == "Constant" and node.output else attribute.name
            single = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
            yield from ((called, s) for s in (*single, *attribute.sparse_tensors))


def _every_node(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    yield from all_nodes(model.graph)
    for function in model.functions:
        # all_nodes asks for no more than nodes
        yield from all_nodes(function)


def bytes_of(tensor: onnx.TensorProto) -> int:
    """Bytes that the values of a tensor of numbers take by its shape and type."""
    count: int = math.prod(tensor.dims)
    return (count * _BITS[tensor.data_type] + 7) // 8


def shares_bytes(tensor: onnx.TensorProto) -> bool:
    """Whether several values of a tensor lie in one byte."""
    return _BITS[tensor.data_type] < 8


def check_stored(model: onnx.ModelProto, name: str) -> None:
    """Raise ModelError if a tensor in the model ``name`` is not as large as its shape says (external ones apart)."""
    for called, tensor in every_tensor(model):
        _check_type(called, tensor, list(tensor.dims), name)
        if not uses_external_data(tensor):
            _check_values(called, tensor, name)
    _check_sparse(every_sparse(model), name)


def _check_type(called: str, tensor: onnx.TensorProto, dims: list[int], name: str) -> None:
    if tensor.data_type not in _BITS:
        raise ModelError(f"'{called}' in '{name}' has type {tensor.data_type}, which ONNX does not have; export again")
    if any(d < 0 for d in dims):
        raise ModelError(f"'{called}' in '{name}' has sizes {dims}, and no size is negative; export it again")


def _check_values(called: str, tensor: onnx.TensorProto, name: str) -> None:
    count, bits = math.prod(tensor.dims), _BITS[tensor.data_type]
    if bits and tensor.HasField("raw_data"):
        wanted, found, what = bytes_of(tensor), len(tensor.raw_data), "bytes"
    else:
        # what takes four bits or two shares an entry, a complex number takes two
        wanted = (count * bits + 7) // 8 if bits in (2, 4) else 2 * count if _is_complex(tensor.data_type) else count
        found, what = len(getattr(tensor, helper.tensor_dtype_to_field(tensor.data_type))), "values"
    if wanted != found:
        raise ModelError(
            f"'{called}' in '{name}' has shape {list(tensor.dims)}, which is {wanted} {what}, and {found} are stored; "
            "download or export it again"
        )


def _check_sparse(found: Iterable[tuple[str, onnx.SparseTensorProto]], name: str) -> None:
    stored = dense = 0
    for called, sparse in found:
        for part in (sparse.values, sparse.indices):
            _check_type(called, part, [*part.dims, *sparse.dims], name)
            if uses_external_data(part):
                raise ModelError(
                    f"the sparse tensor '{called}' in '{name}' lies in an external file; keep it in the model itself"
                )
            _check_values(called, part, name)
            stored += len(part.raw_data) or part.ByteSize()
        dense += math.prod(sparse.dims) * max(_BITS[sparse.values.data_type], 8) // 8
        if dense > _SPARSE_FREE + _SPARSE_TIMES * stored:
            raise ModelError(
                f"the sparse tensor '{called}' in '{name}' has shape {list(sparse.dims)}, which the {stored} bytes "
                "that are stored can't be meant for; export it again"
            )
        _check_places(called, sparse, name)


def _check_places(called: str, sparse: onnx.SparseTensorProto, name: str) -> None:
    """As many places as values, all of them inside."""
    count, rank = math.prod(sparse.values.dims), len(sparse.dims)
    sizes = sparse.dims if len(sparse.indices.dims) == 2 else [math.prod(sparse.dims)]
    fits = list(sparse.indices.dims) in ([count], [count, rank]) and sparse.indices.data_type == onnx.TensorProto.INT64
    places = numpy_helper.to_array(sparse.indices).reshape(count, -1) if fits and count else np.zeros((0, len(sizes)))
    if not fits or (places < 0).any() or (places >= np.array(sizes)).any():
        raise ModelError(
            f"the sparse tensor '{called}' in '{name}' has values outside of its shape {list(sparse.dims)}; "
            "export it again"
        )


def _is_complex(data_type: int) -> bool:
    return data_type in (onnx.TensorProto.COMPLEX64, onnx.TensorProto.COMPLEX128)
