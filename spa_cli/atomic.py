"""Writing files so that nobody ever sees half of one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spa_cli.errors import UsageError


@contextmanager
def replacing(path: Path, what: str = "file", instead: str = "name another") -> Iterator[Path]:
    """A private place beside ``path`` to write to; what is there when the block ends well takes the place of ``path``.

    Raises UsageError where it can't be written: "the <what> can't be written: ...; <instead>".
    """
    folder: Path | None = None
    try:
        folder = Path(tempfile.mkdtemp(prefix=".spa-", dir=path.parent))
        yield folder / path.name
        (folder / path.name).replace(path)
    except OSError as error:
        raise UsageError(f"the {what} '{path}' can't be written: {error.strerror or error}; {instead}") from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a small file; raises UsageError where that fails."""
    with replacing(path) as place:
        place.write_text(text, encoding="utf-8", newline="")
        # whatever the umask: a pipeline reads it as somebody else
        place.chmod(0o644)
