"""A model made ready for gradients in its weights: weights are inputs, half precision is single precision."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from spa_cli.adjoints.assemble import keep
from spa_cli.adjoints.sizes import filled
from spa_cli.graph.bodies import graphs
from spa_cli.graph.model import Array, Graph
from spa_cli.graph.shapes import Shapes, interpret
from spa_cli.graph.view import build

HALF = frozenset({TensorProto.FLOAT16, TensorProto.BFLOAT16})
# types that onnxruntime takes no input of from NumPy
NARROW = frozenset(
    {
        TensorProto.INT4,
        TensorProto.UINT4,
        TensorProto.FLOAT4E2M1,
        TensorProto.FLOAT8E4M3FN,
        TensorProto.FLOAT8E4M3FNUZ,
        TensorProto.FLOAT8E5M2,
        TensorProto.FLOAT8E5M2FNUZ,
    }
)
# attributes that name a type of numbers
_TYPES = frozenset({"to", "dtype", "output_dtype", "stash_type", "softmax_precision"})


def trainable(graph: Graph, shapes: Shapes, weights: Iterable[str]) -> tuple[Graph, Shapes]:
    """``graph`` with ``weights`` as inputs of the same names, and the shapes of that, analysed where ``shapes`` were.

    Nothing it says rests on their values. Numbers in half precision are in single precision: the gradients of sums of
    many would overflow. Weights are parameters of the main graph; ``graph`` itself stays as it is.
    """
    chosen = {name: graph.parameters[name] for name in weights}
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    main = model.graph
    keep(main.initializer, [t for t in main.initializer if t.name not in chosen])
    keep(main.sparse_initializer, [s for s in main.sparse_initializer if s.values.name not in chosen])
    keep(main.node, [n for n in main.node if n.op_type != "Constant" or n.output[0] not in chosen])
    keep(main.input, [v for v in main.input if v.name not in chosen])
    for name, tensor in chosen.items():
        main.input.append(helper.make_tensor_value_info(name, tensor.data_type, tuple(tensor.dims)))
    for place in graphs(main):
        _widen(place, graph.folder)
    opened = build(model, graph.folder)
    sizes = {n: tuple(opened_dims(v)) if n in chosen else shapes.shape.get(n) for n, v in opened.inputs.items()}
    given = {n: filled(s) for n, s in sizes.items() if s is not None}
    observed = {n: (shape, single(dtype)) for n, (shape, dtype) in shapes.observed.items() if n not in chosen}
    return opened, interpret(opened, given, observed, shapes.rules)


def opened_dims(info: onnx.ValueInfoProto) -> list[int]:
    """Sizes of an input all of which are declared."""
    return [d.dim_value for d in info.type.tensor_type.shape.dim]


def single(dtype: int) -> int:
    """The type that numbers of this one are computed in."""
    return TensorProto.FLOAT if dtype in HALF else dtype


def numbers(array: Array) -> Array:
    """A weight as gradients are taken in it: double precision stays, all else is single precision."""
    return np.asarray(array, np.float64 if array.dtype == np.float64 else np.float32, order="C")


def as_fed(array: Array, dtype: int) -> Array:
    """Numbers in the type of an input; where that has integers only, the nearest one."""
    wanted = helper.tensor_dtype_to_np_dtype(single(dtype))
    if array.dtype == wanted or wanted.kind not in "iu":
        return np.asarray(array, wanted)
    limits = np.iinfo(wanted)
    return np.asarray(np.clip(np.rint(np.asarray(array, np.float64)), limits.min, limits.max), wanted)


def _widen(graph: onnx.GraphProto, folder: str) -> None:
    """Half precision to single precision, without what lies in bodies."""
    for tensor in graph.initializer:
        _widen_tensor(tensor, folder)
    for sparse in graph.sparse_initializer:
        _widen_tensor(sparse.values, folder)
    for info in (*graph.input, *graph.output, *graph.value_info):
        _widen_type(info.type)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name in _TYPES and attribute.i in HALF:
                attribute.i = TensorProto.FLOAT
            if attribute.HasField("t"):
                _widen_tensor(attribute.t, folder)


def _widen_tensor(tensor: onnx.TensorProto, folder: str) -> None:
    if tensor.data_type in HALF:
        array = numpy_helper.to_array(tensor, folder).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _widen_type(kind: onnx.TypeProto) -> None:
    if kind.HasField("tensor_type"):
        kind.tensor_type.elem_type = single(kind.tensor_type.elem_type)
    elif kind.HasField("sequence_type"):
        _widen_type(kind.sequence_type.elem_type)
    elif kind.HasField("optional_type"):
        _widen_type(kind.optional_type.elem_type)
