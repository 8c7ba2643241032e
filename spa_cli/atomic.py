"""Putting files in place so that nobody ever sees half of one, and nobody's is replaced who did not ask for it."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spa_cli import written
from spa_cli.errors import UsageError
from spa_cli.interrupts import uninterrupted
from spa_cli.staging import SMALL, Private, born, named, nameless, private

# what file systems say that have no hard links
_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK}


@contextmanager
def replacing(
    path: Path, what: str = "file", instead: str = "name another", *, force: bool = True, room: int = SMALL
) -> Iterator[Path]:
    """A private place to write to; what is there when the block ends well takes the place of ``path``.

    ``force``: also of what is there already. ``room``: about how many bytes. Raises UsageError where it can't be
    written: "the <what> can't be written: ...; <instead>".
    """
    with under_way(path, what, instead, room=room) as place:
        yield place
        put(place, path, force)


@contextmanager
def under_way(
    path: Path, what: str = "file", instead: str = "name another", *, room: int | None = SMALL
) -> Iterator[Path]:
    """A private place for what is to be put at ``path`` later; raises UsageError like ``replacing``."""
    with refusing(path, what, instead), private(path.parent, room) as folder:
        place = folder.path / path.name
        born(place, path.parent)
        yield place


def write_text(path: Path, text: str, *, force: bool = True) -> None:
    """Write a small file; raises UsageError where that fails."""
    with replacing(path, force=force, room=len(text)) as place:
        fill(place, text)


def fill(place: Path, text: str) -> None:
    """Write a text that others may read."""
    place.write_text(text, encoding="utf-8", newline="")
    # whatever the umask: a pipeline reads it as somebody else
    place.chmod(0o644)


@contextmanager
def refusing(path: Path, what: str = "file", instead: str = "name another") -> Iterator[None]:
    """What the system says of ``path`` as a UsageError."""
    try:
        yield
    except FileExistsError as error:
        raise UsageError(
            f"the {what} '{path}' exists now, somebody else made it meanwhile; use --force to replace it"
        ) from error
    except OSError as error:
        raise UsageError(f"the {what} '{path}' can't be written: {error.strerror or error}; {instead}") from error


def put(made: Path, path: Path, force: bool) -> None:
    """Move a finished file into place, all of it at once, once it is on the disk.

    Raises OSError, FileExistsError if there is one and not ``force``; ``path`` is as it was then.
    """
    with made.open("r+b") as file:
        os.fsync(file.fileno())
    with uninterrupted():
        try:
            _move(made, path, force)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _copy(made, path, force)
        written.note(path)


def _move(made: Path, path: Path, force: bool) -> None:
    if force:
        os.replace(made, path)
        return
    try:
        # unlike a move, a link never replaces
        os.link(made, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _claim(made, path)
    else:
        made.unlink()


def _claim(made: Path, path: Path) -> None:
    """The same without links: whoever makes the file first may replace it."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    try:
        os.replace(made, path)
    except OSError:
        path.unlink()
        raise


def _copy(made: Path, path: Path, force: bool) -> None:
    """From another file system; on the way it has no name, or is in a private folder."""
    with Private(path.parent) as folder:
        near = folder.path / path.name
        file = nameless(path.parent)
        with made.open("rb") as old, near.open("wb") if file is None else open(file, "wb") as new:
            shutil.copyfileobj(old, new, 1 << 20)
            new.flush()
            os.fsync(new.fileno())
            if file is not None:
                os.fchmod(file, made.stat().st_mode & 0o777)
                named(file, near)
        if file is None:
            near.chmod(made.stat().st_mode & 0o777)
        _move(near, path, force)
