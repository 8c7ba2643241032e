"""What the user sees and keeps of the log: a bar or lines on stderr, a file."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spa_cli.cli.streams import say
from spa_cli.errors import UsageError
from spa_cli.progress import LOG, NOTE, PART, SHOWN
from spa_cli.text import one_line

if TYPE_CHECKING:
    from spa_cli.report.bar import OnTerminal


@contextlib.contextmanager
def listening(quiet: bool, verbose: bool, log_file: Path | None) -> Iterator[None]:
    """Show warnings, and what is going on: in lines with ``verbose``, else as a bar where stderr is a terminal.

    ``quiet``: neither. ``log_file``: all of it also goes there. Raises UsageError if that can't be written.
    """
    handlers: list[logging.Handler] = []
    if not quiet:
        handlers.append(_Lines() if verbose else _Bar())
        handlers[0].addFilter(lambda record: not getattr(record, SHOWN, False))
    if log_file is not None:
        handlers.append(_file(log_file, quiet))
    level = LOG.level
    LOG.setLevel(min([h.level for h in handlers], default=logging.CRITICAL))
    for handler in handlers:
        LOG.addHandler(handler)
    try:
        yield
    finally:
        LOG.setLevel(level)
        for handler in handlers:
            LOG.removeHandler(handler)
            handler.close()


class _Kept(logging.FileHandler):
    """A log file; where it can't be written any more, one warning says so, and the command goes on."""

    def __init__(self, path: Path, quiet: bool) -> None:
        super().__init__(path, mode="a", encoding="utf-8")
        self._path, self._quiet, self._full = path, quiet, False

    def emit(self, record: logging.LogRecord) -> None:
        if not self._full:
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._full:
            self._full = True
            if not self._quiet:
                say(one_line(f"warning: the log file '{self._path}' can't be written: {error.strerror or error}"))

    def close(self) -> None:
        # what it could not take before, it can't now
        with contextlib.suppress(OSError):
            super().close()


def _file(path: Path, quiet: bool) -> logging.Handler:
    try:
        handler = _Kept(path, quiet)
    except OSError as error:
        raise UsageError(f"the log file '{path}' can't be written: {error.strerror or error}; name another") from error
    handler.setLevel(logging.DEBUG)
    handler.addFilter(lambda record: bool(record.getMessage()))
    handler.setFormatter(_Entry("%(asctime)s %(levelname)s %(message)s"))
    return handler


class _Entry(logging.Formatter):
    """One line an entry; those of a traceback are set in, so that none can be taken for an entry."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return one_line(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        return "\n".join(f"  {one_line(line)}" for line in super().formatException(ei).splitlines())


class _Lines(logging.Handler):
    """Stages and warnings, one a line, stages with the seconds since the command began."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._start = time.perf_counter()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.levelno == logging.WARNING:
            say(one_line(f"warning: {text}"))
        elif record.levelno == logging.INFO and text:
            say(one_line(f"{time.perf_counter() - self._start:7.1f} s  {text}"))


class _Bar(logging.Handler):
    """The current stage, how much of it is done and how long the rest will take, if stderr is a terminal; warnings."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._shown: OnTerminal | None = None

    def emit(self, record: logging.LogRecord) -> None:
        part, text = getattr(record, PART, None), record.getMessage()
        if part is not None:
            if self._shown is not None:
                self._shown.reached(part)
            return
        # a bar that is being drawn would swallow what is printed beside it
        self.close()
        if record.levelno == logging.WARNING:
            say(one_line(f"warning: {text}"))
        elif getattr(record, NOTE, False):
            if sys.stderr.isatty():
                say(one_line(text))
        elif record.levelno == logging.INFO and text and sys.stderr.isatty():
            from spa_cli.report.bar import OnTerminal

            self._shown = OnTerminal()
            self._shown.begin(text)

    def close(self) -> None:
        """Take the bar away."""
        if self._shown is not None:
            self._shown.take_away()
            self._shown = None
        super().close()
