"""What is going on, told as log records of the logger ``spa_cli``.

The command line listens with a bar (``--verbose``: with lines, ``--log-file``: with a file); a program that uses the
Python API may listen with any handler of ``logging``, or with a function of its own (``progress=``), and has a bar in a
notebook.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

LOG = logging.getLogger("spa_cli")
LOG.addHandler(logging.NullHandler())
# attribute of a record: which fraction of the stage is done
PART = "spa_part"
# and of one that stays where it is shown
NOTE = "spa_note"
# and of one that is shown otherwise: it is for files
SHOWN = "spa_shown"

Progress: TypeAlias = Callable[[str, float], None]
# a function of one's own; True: a bar, False: nothing, None: a bar in a notebook
Wanted: TypeAlias = Progress | bool | None
_heard: ContextVar[_Heard | None] = ContextVar("heard", default=None)
_within: ContextVar[str] = ContextVar("within", default="")

T = TypeVar("T")


class Bar(AbstractContextManager["Bar"]):
    """What shows how far it is while it is entered, and may be entered again."""

    def tell(self, stage: str, part: float) -> None:
        """Such a fraction of the stage is done."""

    def note(self, text: str) -> None:
        """Something that stays where it is shown."""


_bars: list[Callable[[bool], Bar | None]] = []


def bars_by(make: Callable[[bool], Bar | None]) -> None:
    """What makes bars, which are drawn on a floor above: told whether one is wanted anywhere, or only in a notebook."""
    _bars[:] = [make]


def bar(wanted: bool | None) -> Bar | None:
    """A bar, if there is to be one; see ``Wanted``."""
    return None if wanted is False or not _bars else _bars[0](wanted is True)


@dataclass
class _Heard:
    listener: Progress
    noted: Callable[[str], None]
    stage: str = ""

    def tell(self, text: str, part: float | None) -> None:
        """A new stage, or which part of it is done."""
        if part is None:
            self.stage = text
        self.listener(self.stage, part or 0.0)


def tell(level: int, text: str, part: float | None = None, noted: bool = False) -> None:
    """Log a stage (INFO), a note, or with ``part`` which fraction of the stage is done (DEBUG); tell who listens."""
    extra = {NOTE: True} if noted else {PART: part} if part is not None else None
    LOG.log(level, "%s", text, extra=extra)
    heard = _heard.get()
    if heard is None or not text:
        return
    if noted:
        heard.noted(text)
    elif level <= logging.INFO and (level == logging.INFO or part is not None):
        heard.tell(text, part)


@contextmanager
def listened(listener: Progress | Bar | None, words: Callable[[str], str] = str) -> Iterator[None]:
    """``listener`` is told, in such words, of all that goes on inside: the stage, and which fraction of it is done."""
    if listener is None:
        yield
        return
    told, noted, shown = (
        (listener.tell, listener.note, listener) if isinstance(listener, Bar) else (listener, _ignored, nullcontext())
    )
    token = _heard.set(_Heard(lambda stage, part: told(words(stage), part), lambda text: noted(words(text))))
    try:
        with shown:
            yield
    finally:
        _heard.reset(token)


def _ignored(text: str) -> None:
    """A function of the stage and a fraction has no place for it."""


def level() -> int:
    """From which level on somebody listens."""
    return LOG.level if _heard.get() is None else logging.DEBUG


def note(text: str) -> None:
    """Something that a user wants to see while there is time to stop; it stays where it is shown."""
    tell(logging.INFO, _within.get() + text, noted=True)


def stage(text: str) -> None:
    """A new step has begun; an empty text: none has, results are about to be shown."""
    tell(logging.INFO, _within.get() + text if text else "")


@contextmanager
def within(text: str) -> Iterator[None]:
    """Stages inside are steps of this."""
    token = _within.set(f"{_within.get()}{text}: ")
    try:
        yield
    finally:
        _within.reset(token)


def tracked(items: Collection[T], work: Callable[[T], float] = lambda _: 1.0) -> Iterator[T]:
    """The items, one by one, telling before each which fraction of the current stage is done.

    ``work``: what an item takes, where that differs, in any unit.
    """
    each = [work(item) for item in items]
    done, total = 0.0, sum(each)
    for number, (item, one) in enumerate(zip(items, each, strict=True)):
        tell(logging.DEBUG, f"{number + 1} of {len(items)}", done / total)
        yield item
        done += one
