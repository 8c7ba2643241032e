"""What is going on as a line with a bar: on a terminal, and in the output of a notebook's cell."""

from __future__ import annotations

import contextvars
import io
import sys
import threading
import time
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from spa_cli import progress
from spa_cli.report.tables import PAGE, console

# widths of a bar, of a stage and of all that is said of times, with what stands between
_BAR, _TEXT, _TIMES = 12, 40, 26
# seconds between two drawings in a notebook; what is done sooner needs none
_TICK = 0.4
# a smaller part says little of the rest
_TELLING = 0.02


def wanted(anywhere: bool) -> progress.Bar | None:
    """A bar in a notebook; ``anywhere``: also on a terminal."""
    if Console().is_jupyter:
        return InNotebook()
    return OnTerminal() if anywhere and sys.stderr.isatty() else None


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
        if self._part < _TELLING:
            return None
        found = (self._at - self._began) / self._part - (self._now() - self._began)
        return found if found >= 1 else None


def line(pace: Pace, out: Console) -> Progress:
    """A bar of one line."""

    class Times(ProgressColumn):
        def render(self, task: Task) -> Text:
            left = pace.left
            about = f", about {left:.0f} s left" if left is not None else ""
            return Text(f"{task.elapsed or 0:.0f} s{about}", style="dim", no_wrap=True)

    # one line, however narrow: the times stay, and of the stage as much as there is room for
    bar = [BarColumn(bar_width=_BAR)] if _has_bar(out) else []
    kept = Column(no_wrap=True, overflow="ellipsis", max_width=_room(out))
    text = TextColumn("{task.description}", markup=False, table_column=kept)
    return Progress(SpinnerColumn(), text, *bar, Times(Column(no_wrap=True)), console=out, transient=True)


def _has_bar(out: Console) -> bool:
    return out.width >= _TEXT + _BAR + _TIMES


def _room(out: Console) -> int:
    """For a stage."""
    return max(8, min(_TEXT, out.width - _TIMES - (_BAR + 1) * _has_bar(out)))


def brief(stage: str, room: int) -> str:
    """A stage of one of many, which says what goes on rather than in which file where there is no room for both."""
    which, colon, what = stage.rpartition(": ")
    return stage if len(stage) <= room or not colon else f"{which.split(',')[0]}: {what}"


class _Line(progress.Bar):
    """One stage after the other."""

    def __init__(self) -> None:
        self._pace = Pace()
        self._line: Progress | None = None
        self._task: Any = None
        self._stage, self._part = "", 0.0

    def tell(self, stage: str, part: float) -> None:
        """A stage that is another, or further back than it was, has begun."""
        if stage != self._stage or part < self._part or self._line is None:
            self.begin(stage)
        if part:
            self.reached(part)

    def begin(self, stage: str) -> None:
        """A new stage, of which nobody knows yet how far it is."""
        self.take_away()
        self._stage, self._part, self._pace = stage, 0.0, Pace()
        out = self._out()
        self._line = line(self._pace, out)
        self._task = self._line.add_task(brief(stage, _room(out)), total=None)
        self._put_up(self._line)

    def reached(self, part: float) -> None:
        """Such a fraction of it is done."""
        self._part = part
        if self._line is not None:
            self._pace.reached(part)
            self._line.update(self._task, total=1.0, completed=part)

    def take_away(self) -> None:
        """No stage any more."""
        self._line = None

    def __exit__(self, *raised: object) -> None:
        self.take_away()

    @abstractmethod
    def _out(self) -> Console:
        """What it is drawn on."""

    def _put_up(self, drawn: Progress) -> None:
        """It is to be seen from now on."""


class OnTerminal(_Line):
    """On standard error."""

    def _out(self) -> Console:
        return console(stderr=True)

    def _put_up(self, drawn: Progress) -> None:
        drawn.start()

    def take_away(self) -> None:
        """The line is free again."""
        if self._line is not None:
            self._line.stop()
        super().take_away()

    def note(self, text: str) -> None:
        """Above the bar, which would swallow what is printed beside it."""
        self.take_away()
        self._out().print(escape(text))


class InNotebook(_Line):
    """In the output of the cell, drawn by rich and shown by IPython alone: rich's own way there needs ipywidgets."""

    def __init__(self) -> None:
        super().__init__()
        self._notes: list[str] = []
        self._shown: Any = None
        self._over = threading.Event()
        self._drawing: threading.Thread | None = None

    def _out(self) -> Console:
        return console(file=io.StringIO())

    def note(self, text: str) -> None:
        """Above the bar; it stays when that is gone."""
        self._notes.append(text)

    def __enter__(self) -> InNotebook:
        self._over.clear()
        # in the context of the cell: its output is where this is shown
        run = contextvars.copy_context().run
        self._drawing = threading.Thread(target=run, args=(self._draw_on,), daemon=True)
        self._drawing.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._over.set()
        if self._drawing is not None:
            self._drawing.join()
        super().__exit__(*raised)
        if self._shown is not None or self._notes:
            self._draw()

    def _draw_on(self) -> None:
        while not self._over.wait(_TICK):
            self._draw()

    def _draw(self) -> None:
        from IPython.display import display

        out, drawn = self._out(), self._line
        for text in self._notes:
            out.print(escape(text))
        if drawn is not None:
            out.print(drawn)
        shown = {"text/plain": out.export_text(clear=False), "text/html": ""}
        if self._notes or drawn is not None:
            shown["text/html"] = out.export_html(code_format=PAGE, inline_styles=True)
        if self._shown is None:
            self._shown = display(shown, raw=True, display_id=True)
        else:
            self._shown.update(shown, raw=True)
