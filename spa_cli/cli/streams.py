"""Standard output and error as they are: closed, full, a pipe that nobody reads, in an encoding that lacks letters."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator

import typer

from spa_cli.errors import UsageError


def settle() -> None:
    """Before anything is opened or printed."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # the next file that is opened would take its number, and be printed into by native code
            os.open(os.devnull, os.O_RDWR)
    # Python has none where it found them closed, and libraries ask them for more than whether they are there
    sys.stdout, sys.stderr = (
        open(os.devnull, "w", encoding="utf-8") if stream is None else stream  # noqa: SIM115 - open until the end
        for stream in (sys.stdout, sys.stderr)
    )
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # a name that the encoding lacks letters for is no reason to fail
            stream.reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """A line on standard error, on a terminal wrapped between words; where that can't be written, nobody listens."""
    try:
        typer.echo(_wrapped(text) if sys.stderr is not None and sys.stderr.isatty() else text, err=True)
    except (OSError, ValueError):
        _silence(sys.stderr)


def _wrapped(text: str) -> str:
    width = shutil.get_terminal_size().columns
    return "\n".join(
        textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False) for line in text.splitlines()
    )


@contextlib.contextmanager
def printing() -> Iterator[None]:
    """Results go to standard output inside; a reader that has gone is no error.

    Raises UsageError where the output is a file that can't be written to.
    """
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _silence(sys.stdout)
    except OSError as error:
        _silence(sys.stdout)
        raise UsageError(
            f"what was found can't be printed: {error.strerror or error}; print it to another place"
        ) from error


def _silence(stream: object) -> None:
    """What is still to be written there goes nowhere: at the end Python would try once more, and fail."""
    if isinstance(stream, io.TextIOWrapper):
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
