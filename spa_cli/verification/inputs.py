"""Inputs to run a model on: concrete shapes for its free dimensions, synthetic values, calibration files."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx

from spa_cli.errors import UsageError
from spa_cli.graph.model import Array, Graph
from spa_cli.verification.session import Feeds

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


def input_shapes(graph: Graph, given: dict[str, tuple[int, ...]]) -> Iterator[dict[str, tuple[int, ...]]]:
    """Concrete shapes to try, the most usual first; ``given`` ones stay as they are."""
    for name, shape in given.items():
        if name not in graph.inputs:
            raise UsageError(
                f"--input-shape names '{name}', which is not an input; inputs are {', '.join(graph.inputs)}"
            )
        declared = input_dims(graph.inputs[name])
        if declared is not None and len(declared) != len(shape):
            raise UsageError(f"--input-shape gives '{name}' {len(shape)} dimensions, the model has {len(declared)}")
        for i, (dim, size) in enumerate(zip(declared or [], shape, strict=False)):
            if isinstance(dim, int) and dim != size:
                raise UsageError(f"--input-shape gives '{name}' size {size} on axis {i}, the model fixes it at {dim}")
    for batch, space, length in _TRIES:
        named: dict[str, int] = {}
        yield {
            name: given[name] if name in given else _concrete(name, input_dims(info) or [], named, batch, space, length)
            for name, info in graph.inputs.items()
            if info.type.HasField("tensor_type")
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
    """Normal noise for floats, small valid integers for indices, ones for masks."""
    rng = np.random.default_rng(seed)
    feeds: Feeds = {}
    for name, shape in shapes.items():
        element = graph.inputs[name].type.tensor_type.elem_type
        if element == onnx.TensorProto.STRING:
            feeds[name] = np.full(shape, "a", object)
            continue
        dtype = _DTYPES.get(element, np.float32)
        if np.issubdtype(dtype, np.floating):
            feeds[name] = rng.standard_normal(shape).astype(dtype)
        elif dtype is np.bool_ or "mask" in name.lower():
            feeds[name] = np.ones(shape, dtype)
        else:
            feeds[name] = rng.integers(0, 2, shape).astype(dtype)
    return feeds


def read_calibration(path: Path, graph: Graph, limit: int | None = None) -> dict[str, Array]:
    """Samples per input, stacked along axis 0: an .npz, an .npy (one input), or a folder of such files.

    Raises UsageError if a file is missing, misses an input, has the wrong shape or isn't finite.
    """
    if not path.exists():
        raise UsageError(f"there is no calibration file '{path}'")
    files = sorted(p for p in path.iterdir() if p.suffix in (".npz", ".npy")) if path.is_dir() else [path]
    if not files:
        raise UsageError(f"the calibration folder '{path}' holds no .npz or .npy file")
    parts: dict[str, list[Array]] = {}
    for file in files:
        for name, array in _read_arrays(file, graph).items():
            parts.setdefault(name, []).append(array)
    try:
        data = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    except ValueError as error:
        raise UsageError(f"the files in '{path}' don't fit together: {error}") from error
    missing = [n for n in graph.inputs if n not in data]
    if missing:
        raise UsageError(
            f"the calibration data '{path}' lacks input '{missing[0]}'; it has {', '.join(data) or 'nothing'}"
        )
    for name in graph.inputs:
        _check(path, name, data[name], graph.inputs[name])
    counts = {len(data[n]) for n in graph.inputs}
    if len(counts) > 1:
        raise UsageError(f"the inputs in '{path}' have different numbers of samples: {sorted(counts)}")
    return {n: data[n][:limit] for n in graph.inputs}


def _read_arrays(file: Path, graph: Graph) -> dict[str, Array]:
    try:
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            if len(graph.inputs) != 1:
                raise UsageError(
                    f"'{file}' holds one array, the model has {len(graph.inputs)} inputs; give an .npz with one each"
                )
            return {next(iter(graph.inputs)): loaded}
        with loaded:
            return {k: loaded[k] for k in loaded.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UsageError(f"the calibration file '{file}' can't be read: {error}") from error


def _check(path: Path, name: str, array: Array, info: onnx.ValueInfoProto) -> None:
    dims = input_dims(info)
    if dims == []:
        dims = [""]  # one number per sample
    if dims is not None:
        fits = array.ndim == len(dims) and all(
            i == 0 or not isinstance(d, int) or d == s for i, (d, s) in enumerate(zip(dims, array.shape, strict=True))
        )
        if not fits:
            raise UsageError(
                f"calibration data for input '{name}' in '{path}' has shape {array.shape}, the model takes {dims}"
            )
    if array.dtype.kind not in "fiub" and info.type.tensor_type.elem_type != onnx.TensorProto.STRING:
        raise UsageError(f"calibration data for input '{name}' in '{path}' is of type {array.dtype}, not numbers")
    if len(array) == 0:
        raise UsageError(f"calibration data for input '{name}' in '{path}' holds no samples")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UsageError(f"calibration data for input '{name}' in '{path}' holds values that are not finite")


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
