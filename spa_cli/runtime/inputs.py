"""Inputs to run a model on: concrete shapes for its free dimensions, synthetic values, batches of samples."""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterator, Mapping
from types import MappingProxyType

import numpy as np
import onnx

from spa_cli.errors import ModelError, OptionError
from spa_cli.graph.model import Array, Graph
from spa_cli.memory import whole_memory
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

# bytes of an element while it is drawn
_WIDEST = 8

# what names of inputs and dimensions say of tokens and frames: caches of attention have four axes too
_SEQUENCE = re.compile(r"seq|past|cache|length|time|frame|token")
# batch, height and width, length
_TRIES = (
    (1, 224, 16),
    (1, 64, 32),
    (1, 32, 128),
    (1, 128, 64),
    (2, 224, 16),
    (1, 256, 16000),
    (1, 640, 512),
    (8, 16, 8),
    (1, 1, 1),
)


def input_shapes(
    graph: Graph, given: dict[str, tuple[int, ...]], samples: Mapping[str, tuple[int, ...]] = MappingProxyType({})
) -> Iterator[dict[str, tuple[int, ...]]]:
    """Concrete shapes to try, the most usual first; ``given`` ones stay as they are.

    ``samples``: the shape of one sample per input, of which the axes behind the first are those of the model. Raises
    UsageError for given ones that the model can't take, ModelError where neither it nor anybody else says a shape.
    """
    for name, shape in given.items():
        if name not in graph.inputs:
            raise OptionError(
                f"--input-shape names '{name}', which is not an input; name one of {', '.join(graph.inputs)}"
            )
        declared = input_dims(graph.inputs[name])
        if declared is not None and len(declared) != len(shape):
            raise OptionError(
                f"--input-shape gives '{name}' {len(shape)} dimensions, the model has {len(declared)}; give as many"
            )
        for i, (dim, size) in enumerate(zip(declared or [], shape, strict=False)):
            if isinstance(dim, int) and dim != size:
                raise OptionError(
                    f"--input-shape gives '{name}' size {size} on axis {i}, the model fixes it at {dim}; give that"
                )
    free = {n: input_dims(i) for n, i in graph.inputs.items() if i.type.HasField("tensor_type")}
    for name, dims in free.items():
        if dims is None and name not in given and name not in samples:
            raise ModelError(
                f"the model declares no shape of its input '{name}'; give one, as in --input-shape {name}:1,3,224,224"
            )
    sized = {name: _sized(dims, samples.get(name)) for name, dims in free.items()}
    # a free axis has one name wherever it occurs, also as the first one of another input
    known = {
        dim: size
        for name, dims in free.items()
        for dim, size in zip((dims or [])[1:], sized[name][1:], strict=False)
        if isinstance(dim, str) and isinstance(size, int) and dim
    }
    for batch, space, length in _TRIES:
        named = dict(known)
        yield {
            name: given[name] if name in given else _concrete(name, dims, named, batch, space, length)
            for name, dims in sized.items()
        }


def _sized(dims: list[int | str] | None, sample: tuple[int, ...] | None) -> list[int | str]:
    """Declared dimensions, behind the first one the sizes that a sample has."""
    if sample is None or dims == []:
        return dims or []
    return [(dims or [""])[0], *sample]


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


def _concrete(
    name: str, dims: list[int | str], named: dict[str, int], batch: int, space: int, length: int
) -> tuple[int, ...]:
    shape = []
    for i, dim in enumerate(dims):
        if isinstance(dim, int):
            shape.append(dim)
            continue
        if dim and dim in named:
            shape.append(named[dim])
            continue
        sums = [named[t] for t in re.split(r"\s*\+\s*", dim) if t in named]
        if "+" in dim and sums:
            value = sum(sums)
        elif i == 0 or re.search(r"batch|^N$|^B$", dim):
            value = batch
        elif "total" in dim:
            value = 2 * length
        else:
            image = len(dims) >= 4 and i >= len(dims) - 3 and not _SEQUENCE.search(f"{name} {dim}".lower())
            value = space if image else length
        if dim:
            named[dim] = value
        shape.append(value)
    return tuple(shape)


def synthetic(graph: Graph, shapes: dict[str, tuple[int, ...]], seed: int = 0) -> Feeds:
    """Normal noise for floats, small valid integers for indices, ones for masks.

    Raises ModelError where the declared shapes take more than the machine has.
    """
    rng = np.random.default_rng(seed)
    elements = {name: graph.inputs[name].type.tensor_type.elem_type for name in shapes}
    return {name: made_up(name, elements[name], shape, rng) for name, shape in shapes.items()}


def made_up(name: str, element: int, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """One of those inputs, of an ONNX element type; raises ModelError as ``synthetic`` does."""
    if math.prod(shape) * _WIDEST > whole_memory():
        raise ModelError(f"input '{name}' of shape {list(shape)} takes more memory than there is; give --input-shape")
    if element == onnx.TensorProto.STRING:
        return np.full(shape, "a", object)
    dtype = _DTYPES.get(element, np.float32)
    if np.issubdtype(dtype, np.floating):
        return np.asarray(rng.standard_normal(shape)).astype(dtype)
    if dtype is np.bool_ or "mask" in name.lower():
        return np.ones(shape, dtype)
    return rng.integers(0, 2, shape).astype(dtype)


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
