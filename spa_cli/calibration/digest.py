"""What tells the user's samples from others."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from spa_cli.calibration.batches import as_array
from spa_cli.calibration.function import called, file_of, find
from spa_cli.calibration.samples import SampleSource
from spa_cli.errors import UsageError
from spa_cli.options.sources import InMemory, names_function

_CHUNK = 1 << 20


def digest(source: SampleSource | Callable[..., Any]) -> str:
    """Of a file, of every file under a folder with its name, of the file and the name of a function, of arrays.

    What could only be told by using it up is like nothing else.

    Raises UsageError for what can't be read.
    """
    found = hashlib.sha256()
    if isinstance(source, InMemory):
        _feed(found, source.value)
        return found.hexdigest()
    try:
        if callable(source) or (not source.exists() and names_function(str(source))):
            function = source if callable(source) else find(str(source))
            file = file_of(function)
            found.update(called(source).encode())
            files = [Path(file)] if file is not None and Path(file).is_file() else []
        elif source.is_dir():
            # linked folders too, as the readers follow them
            walked = os.walk(source, followlinks=True)
            files = sorted(Path(place) / name for place, _, names in walked for name in names)
            found.update("\n".join(str(f.relative_to(source)) for f in files).encode())
        else:
            files = [source]
        for path in files:
            found.update(_of_file(path))
    except OSError as error:
        raise UsageError(
            f"the samples '{source}' can't be read: {error.strerror or error}; check the path and its permissions"
        ) from error
    return found.hexdigest()


def _feed(found: Any, value: Any) -> None:
    """What tells samples in memory from others."""
    if isinstance(value, Mapping):
        for name in value:
            found.update(f"{name}:".encode())
            _feed(found, value[name])
    elif isinstance(value, list | tuple):
        found.update(f"{len(value)} of ".encode())
        for one in value:
            _feed(found, one)
    elif hasattr(value, "__array__") or isinstance(value, int | float):
        array = as_array(value)
        found.update(f"{array.dtype} {array.shape}".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    else:
        found.update(uuid4().bytes)


def _of_file(path: Path) -> bytes:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return found.digest()
