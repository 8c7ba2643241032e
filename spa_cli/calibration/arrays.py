"""Samples in .npz and .npy files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from spa_cli.archives import UNREADABLE, check_unpacked, why_unread
from spa_cli.calibration.check import samples_of
from spa_cli.calibration.filling import alone
from spa_cli.calibration.samples import Samples, joined, label_name
from spa_cli.errors import UsageError
from spa_cli.graph.model import Array, Graph

SUFFIXES = (".npz", ".npy")


def read_arrays(path: Path, graph: Graph) -> Samples:
    """One file, or those of a folder one after the other, in the order of their names.

    An .npz holds one array per input, samples along axis 0, and perhaps ``labels``; an .npy serves a single input.
    Raises UsageError for what can't be read or does not fit the model.
    """
    files = sorted(p for p in path.iterdir() if p.suffix in SUFFIXES) if path.is_dir() else [path]
    parts: dict[str, list[Array]] = {}
    labels: list[Array | UsageError | None] = []
    for file in files:
        arrays, own = _read(file, graph)
        labels.append(own)
        for name, array in arrays.items():
            parts.setdefault(name, []).append(array)
    try:
        data = {
            name: np.concatenate(arrays) if len(arrays) > 1 and name in graph.inputs else arrays[0]
            for name, arrays in parts.items()
        }
    except ValueError as error:
        raise UsageError(
            f"the files in '{path}' don't fit together: {error}; give arrays that differ on axis 0 alone"
        ) from error
    found = joined(labels, [f"'{f}'" for f in files], str(path))
    return samples_of(data, graph, str(path), str(path), found)


def _read(file: Path, graph: Graph) -> tuple[dict[str, Array], Array | UsageError | None]:
    try:
        check_unpacked(file)
        # numpy leaves a file open that it can't read
        with file.open("rb") as stream:
            loaded = np.load(stream, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                if (name := alone(graph)) is None:
                    raise UsageError(
                        f"'{file}' holds one array, the model has {len(graph.inputs)} inputs; give an .npz with all"
                    )
                return {name: loaded}, None
            label = label_name(loaded.files, graph)
            # what is no input is never read: it is only named where an input is missing
            arrays = {k: loaded[k] if k in graph.inputs else np.empty(0) for k in loaded.files if k != label}
            return arrays, _labels(loaded, label, file)
    except UNREADABLE as error:
        raise UsageError(
            f"the calibration file '{file}' can't be read: {why_unread(error)}; save it with numpy.save or numpy.savez"
        ) from error


def _labels(loaded: np.lib.npyio.NpzFile, name: str | None, file: Path) -> Array | UsageError | None:
    """Labels that can't be read are no reason to fail where nobody asks for them."""
    try:
        return None if name is None else np.atleast_1d(loaded[name])
    except UNREADABLE as error:
        return UsageError(f"the labels in '{file}' can't be read: {why_unread(error)}; save them as numbers")
