"""Labels that lie beside the calibration samples."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from spa_cli.errors import UsageError
from spa_cli.graph.model import Array, Graph

NAMES = ("labels", "label", "y", "targets")


def read_labels(path: Path, graph: Graph, count: int) -> Array | None:
    """Labels of the ``count`` samples in an .npz, or in the .npz files of a folder one after the other: (count, ...).

    They are the array named "labels" ("label", "y", "targets") that is no input of the graph; ``None`` if there is
    none. Raises UsageError if only some files have one, if they don't fit together, hold no numbers, or are of another
    number than the samples.
    """
    files = sorted(p for p in path.iterdir() if p.suffix in (".npz", ".npy")) if path.is_dir() else [path]
    parts = [(file, _labels(file, graph)) for file in files]
    found = [labels for _, labels in parts if labels is not None]
    if not found:
        return None
    lacking = [file for file, labels in parts if labels is None]
    if lacking:
        raise UsageError(f"'{lacking[0]}' has no labels, other files in '{path}' have; give all of them some, or none")
    try:
        joined = np.concatenate(found)
    except ValueError as error:
        raise UsageError(f"the labels in '{path}' don't fit together: {error}") from error
    if joined.dtype.kind not in "fiub" or (joined.dtype.kind == "f" and not np.isfinite(joined).all()):
        raise UsageError(f"the labels in '{path}' are not all finite numbers; give class indices or values")
    if len(joined) != count:
        raise UsageError(f"'{path}' holds {len(joined)} labels for {count} samples; give one label a sample")
    return joined


def _labels(file: Path, graph: Graph) -> Array | None:
    if file.suffix != ".npz":
        return None
    try:
        with np.load(file, allow_pickle=False) as loaded:
            for name in NAMES:
                if name in loaded.files and name not in graph.inputs:
                    array: Array = loaded[name]
                    return array.reshape(1) if array.ndim == 0 else array
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UsageError(f"the labels in '{file}' can't be read: {error}") from error
    return None
