"""Standard output and error as they are: closed, full, a pipe that nobody reads, in an encoding that lacks letters."""

from __future__ import annotations

import contextlib
import io
import os
import sys
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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # a name that the encoding lacks letters for is no reason to fail
            stream.reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """A line on standard error; where that can't be written, nobody listens."""
    try:
        typer.echo(text, err=True)
    except (OSError, ValueError):
        _silence(sys.stderr)


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
