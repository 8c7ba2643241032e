"""What the user sees and keeps of the log: a bar or lines on stderr, a file."""

from __future__ import annotations

import contextlib
import logging
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from spa_cli.cli.streams import say
from spa_cli.errors import UsageError
from spa_cli.progress import LOG, NOTE, PART
from spa_cli.text import one_line


@contextlib.contextmanager
def listening(quiet: bool, verbose: bool, log_file: Path | None) -> Iterator[None]:
    """Show warnings, and what is going on: in lines with ``verbose``, else as a bar where stderr is a terminal.

    ``quiet``: neither. ``log_file``: all of it also goes there. Raises UsageError if that can't be written.
    """
    handlers: list[logging.Handler] = []
    if not quiet:
        handlers.append(_Lines() if verbose else _Bar())
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


# widths of a bar, of a stage and of all that is said of times, with what stands between
_BAR, _TEXT, _TIMES = 12, 40, 26


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
        self._shown: Any = None
        self._task: Any = None
        self._pace = Pace()

    def emit(self, record: logging.LogRecord) -> None:
        part, text = getattr(record, PART, None), record.getMessage()
        if part is not None:
            if self._shown is not None:
                self._pace.reached(part)
                self._shown.update(self._task, total=1.0, completed=part)
            return
        # a bar that is being drawn would swallow what is printed beside it
        self.close()
        if record.levelno == logging.WARNING:
            say(one_line(f"warning: {text}"))
        elif getattr(record, NOTE, False):
            if sys.stderr.isatty():
                say(textwrap.fill(one_line(text), shutil.get_terminal_size().columns))
        elif record.levelno == logging.INFO and text and sys.stderr.isatty():
            self._pace = Pace()
            self._shown = progress(self._pace)
            self._task = self._shown.add_task(text, total=None)
            self._shown.start()

    def close(self) -> None:
        """Take the bar away."""
        if self._shown is not None:
            self._shown.stop()
            self._shown = None
        super().close()


class Pace:
    """How long the rest will take, if it goes on as it went: seconds that pass are no longer left."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._began = now()
        self._part, self._at = 0.0, self._began

    def reached(self, part: float) -> None:
        """Such a fraction is done; a smaller one than before: it has begun anew."""
        if part < self._part:
            self._began = self._now()
        self._part, self._at = part, self._now()

    @property
    def left(self) -> float | None:
        """Seconds; ``None`` where nothing can be said: at the start, and when it takes longer than was thought."""
        if not self._part:
            return None
        found = (self._at - self._began) / self._part - (self._now() - self._began)
        return found if found >= 1 else None


def progress(pace: Pace) -> Any:
    """A bar of one line."""
    from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
    from rich.table import Column
    from rich.text import Text

    from spa_cli.report.tables import console

    class Times(ProgressColumn):
        def render(self, task: Task) -> Text:
            left = pace.left
            about = f", about {left:.0f} s left" if left is not None else ""
            return Text(f"{task.elapsed or 0:.0f} s{about}", style="dim", no_wrap=True)

    out = console(stderr=True)
    # one line, however narrow: the times stay, and of the stage as much as there is room for
    bar = [BarColumn(bar_width=_BAR)] if out.width >= _TEXT + _BAR + _TIMES else []
    room = max(8, min(_TEXT, out.width - _TIMES - (_BAR + 1) * len(bar)))
    text = TextColumn(
        "{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", max_width=room)
    )
    return Progress(SpinnerColumn(), text, *bar, Times(Column(no_wrap=True)), console=out, transient=True)
