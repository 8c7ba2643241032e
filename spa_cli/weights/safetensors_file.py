"""Weights in safetensors files."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np

from spa_cli.errors import UsageError
from spa_cli.extras import extra
from spa_cli.graph.model import Array
from spa_cli.weights.tensors import Weights

_TYPES: dict[str, Any] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
    "C64": np.complex64,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


def _library() -> Any:
    extra("safetensors.numpy", ".safetensors needs the library safetensors", "safetensors")
    import safetensors

    return safetensors


def read(path: Path) -> Weights:
    """All tensors of a file and its metadata; raises UsageError if it isn't one."""
    library = _library()
    try:
        with library.safe_open(path, framework="np") as file:
            metadata = dict(file.metadata() or {})
            try:
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no mapping
            except (AttributeError, KeyError, TypeError):
                tensors = _read_all(library, path)
    except (library.SafetensorError, ValueError) as error:
        raise UsageError(
            f"'{path}' is not a safetensors file, or is cut short ({error}); save or download it again"
        ) from error
    return Weights(path.name, tensors, path, metadata)


def _read_all(library: ModuleType, path: Path) -> dict[str, Array]:
    """By their bytes: depending on its version, the library has no arrays of bfloat16 or float8 for numpy."""
    tensors = {}
    for key, info in library.deserialize(path.read_bytes()):
        kind = _TYPES.get(info["dtype"])
        if kind is None:
            raise UsageError(f"'{key}' of '{path}' is {info['dtype']}, which numpy has no type for; cast it first")
        tensors[key] = np.frombuffer(bytes(info["data"]), kind).reshape(info["shape"])
    return tensors


def write(weights: Weights, path: Path) -> None:
    """Write all tensors with their metadata; raises UsageError for types the format doesn't have."""
    library = _library()
    metadata = weights.metadata or ({"format": "pt"} if weights.checkpoint is not None else None)
    # the library writes the memory as it lies, whatever the strides say
    tensors = {key: np.ascontiguousarray(t).reshape(t.shape) for key, t in weights.tensors.items()}
    known = {np.dtype(t) for t in _TYPES.values()}
    for key, tensor in tensors.items():
        if tensor.dtype.newbyteorder("=") not in known:
            raise UsageError(f"'{key}' is {tensor.dtype.name}, which .safetensors can't hold; write another format")
    try:
        library.numpy.save_file(tensors, path, metadata=metadata)
    except library.SafetensorError as error:
        raise UsageError(f"the tensors can't be written as .safetensors ({error}); write another format") from error
