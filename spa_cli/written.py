"""What a command has written so far, so that what is said of it when it fails is true."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

_written: ContextVar[list[Path] | None] = ContextVar("written", default=None)


@contextmanager
def noting() -> Iterator[list[Path]]:
    """Files that are put in place inside, in the order in which they were; whoever notes around it has them, too."""
    around = _written.get()
    found: list[Path] = []
    token = _written.set(found)
    try:
        yield found
    finally:
        _written.reset(token)
        for path in found if around is not None else ():
            note(path)


def note(path: Path) -> None:
    """It is in place now."""
    found = _written.get()
    if found is not None and path not in found:
        found.append(path)


def forget(path: Path) -> None:
    """It was taken back."""
    found = _written.get()
    if found is not None and path in found:
        found.remove(path)


def told(files: list[Path], most: int = 3) -> str:
    """What a failure left behind, as the end of a sentence."""
    if not files:
        return "nothing was written"
    named = ", ".join(f"'{file}'" for file in files[:most])
    more = f" and {len(files) - most} more" if len(files) > most else ""
    return f"{named}{more} {'was' if len(files) == 1 else 'were'} written before"
