"""What tells the user's samples from others."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from spa_cli.calibration.function import called, file_of, find
from spa_cli.calibration.samples import SampleSource
from spa_cli.errors import UsageError
from spa_cli.options.words import names_function

_CHUNK = 1 << 20


def digest(source: SampleSource) -> str:
    """Of a file, of every file under a folder with its name, or of the file and the name of a function.

    Raises UsageError for what can't be read.
    """
    found = hashlib.sha256()
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


def _of_file(path: Path) -> bytes:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return found.digest()
