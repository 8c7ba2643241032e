"""Weights in numpy's .npz files."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from spa_cli.archives import UNREADABLE, check_unpacked, why_unread
from spa_cli.errors import UsageError
from spa_cli.graph.model import Array
from spa_cli.weights.tensors import Weights, is_extended


def read(path: Path) -> Weights:
    """All arrays of a file; raises UsageError if it isn't one, or holds Python objects."""
    try:
        check_unpacked(path)
        with np.load(path, allow_pickle=False) as data:
            tensors = {key: _array(data, key, path) for key in data.files}
        with zipfile.ZipFile(path) as archive:
            compression = archive.infolist()[0].compress_type if archive.infolist() else zipfile.ZIP_STORED
    except OSError:
        raise
    except UNREADABLE as error:
        raise UsageError(f"'{path}' is not an .npz file, or is cut short; save it again with numpy.savez") from error
    return Weights(path.name, tensors, path, compression=compression)


def _array(data: Any, key: str, path: Path) -> Array:
    try:
        found = data[key]
    except ValueError as error:
        raise UsageError(
            f"'{key}' of '{path}' can't be read ({why_unread(error)}); save arrays of numbers only"
        ) from error
    if not isinstance(found, np.ndarray):
        raise UsageError(f"'{key}' of '{path}' is no array; save arrays of numbers only, with numpy.savez")
    return found


def write(weights: Weights, path: Path) -> None:
    """Write all arrays, in order; raises UsageError for types that numpy's files can't name."""
    for key, array in weights.tensors.items():
        if is_extended(array.dtype):
            raise UsageError(f"'{key}' is {array.dtype.name}, which .npz can't hold; write a .safetensors or .pt file")
    # numpy.savez takes the tensors as keyword arguments, so that a key "file" or "allow_pickle" breaks it
    with zipfile.ZipFile(path, "w", weights.compression or zipfile.ZIP_STORED) as archive:
        for key, array in weights.tensors.items():
            # of no date: the format has none before 1980, where a clock that was not set begins
            entry = zipfile.ZipInfo(f"{key}.npy")
            entry.compress_type = archive.compression
            with archive.open(entry, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
