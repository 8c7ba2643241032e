"""Errors as one sentence on stderr, one object on stdout with ``--json``, and a documented exit code."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import typer

from spa_cli.cli.streams import say
from spa_cli.errors import SpaError, first_line, of_memory
from spa_cli.memory import limited
from spa_cli.text import one_line

INTERRUPTED = 130
JSON = "--json"
DEBUG = "--debug"

# the exit code of what was told last, 0 if nothing was
_told = [0]


def tell(code: int, kind: str, message: str, json: bool) -> None:
    """Say on stderr what went wrong, and print the object where one was asked for; never fails."""
    line = one_line(message if kind == "interrupted" else f"error: {message}")
    # it needs no room once the object, which needs most, was printed: before that nothing was said, and a parent says
    # it all
    written = f"{line}\n".encode(errors="backslashreplace")
    if json:
        print_error(code, kind, one_line(message))
    _told[0] = code
    try:
        say(line)
    except MemoryError:
        with contextlib.suppress(OSError, ValueError):
            os.write(sys.stderr.fileno(), written)


def was_told() -> int:
    """The exit code of what was told last, object and all; 0 if nothing was."""
    return _told[0]


def print_error(code: int, kind: str, message: str) -> None:
    """The object on stdout; where it can't be printed, the sentence and the code have to do."""
    from spa_cli.cli.show import print_json

    with contextlib.suppress(SpaError):
        print_json({"schema": "spa.error/1", "error": {"code": code, "kind": kind, "message": message}})


def wants_json(context: Any) -> bool:
    """Whether ``--json`` is among the arguments, before they are parsed."""
    return bool(context.find_root().meta.get(JSON))


@contextlib.contextmanager
def guarded(debug: bool, kept: str | None = None, json: bool = False) -> Iterator[None]:
    """What goes wrong inside is told, and leaves with its exit code; a traceback only with ``--debug``.

    ``kept``: what is left behind if the command does not come to its end (``None``: which files were written).
    """
    from spa_cli.interrupts import heed, interrupted
    from spa_cli.written import noting, told

    heed()
    with noting() as written:
        try:
            yield
        except (typer.Exit, typer.Abort):
            raise
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - told, with its traceback where it is asked for
            if interrupted(error):
                tell(INTERRUPTED, "interrupted", f"interrupted; {kept or told(written)}", json)
                raise typer.Exit(INTERRUPTED) from None
            code, kind, message = _of(error, kept or told(written), kept is None and bool(written))
            if debug:
                import traceback

                # its lines stay lines, which names in them do not make more of
                say("\n".join(map(one_line, traceback.format_exc().splitlines())))
            tell(code, kind, message, json)
            raise typer.Exit(code) from None


def _quoted(error: BaseException | str) -> str:
    """What it says, without what only the authors of onnxruntime can use."""
    try:
        from spa_cli.runtime.said import said
    except (ImportError, MemoryError):
        # there is no memory for that either
        return first_line(error)
    return said(error)


def _of(error: BaseException, left: str, something: bool) -> tuple[int, str, str]:
    """Exit code, kind and sentence of an error; ``left``: what it left behind, which is ``something`` or nothing."""
    memory = of_memory(error, _quoted)
    if memory is None and isinstance(error, SystemError) and limited() is not None:
        # an extension that got none, and returned nothing without a word
        memory = of_memory(MemoryError(first_line(error)), _quoted)
    if memory is not None:
        return memory.exit_code, memory.kind, f"{memory}; {left}"
    if isinstance(error, SpaError):
        said = str(error)
        return error.exit_code, error.kind, f"{said}; {left}" if something and left not in said else said
    if isinstance(error, OSError) and error.filename is not None:
        # the system itself refuses a name that the user gave
        why = error.strerror or type(error).__name__
        return 2, "usage", f"'{error.filename}' can't be used: {why}; check the name and its permissions ({left})"
    return (
        1,
        "unexpected",
        f"an unexpected {type(error).__name__} ({first_line(error)}); {left}; run again with --debug and report what it "
        "prints",
    )
