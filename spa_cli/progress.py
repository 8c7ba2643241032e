"""What is going on, told as log records of the logger ``spa_cli``.

The command line listens with a bar (``--verbose``: with lines, ``--log-file``: with a file); a program that uses the
Python API may listen with any handler of ``logging``, or with a function of its own (``progress=``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

LOG = logging.getLogger("spa_cli")
LOG.addHandler(logging.NullHandler())
# attribute of a record: which fraction of the stage is done
PART = "spa_part"
# and of one that stays where it is shown
NOTE = "spa_note"

Progress: TypeAlias = Callable[[str, float], None]
_heard: ContextVar[_Heard | None] = ContextVar("heard", default=None)
_within: ContextVar[str] = ContextVar("within", default="")

T = TypeVar("T")


@dataclass
class _Heard:
    listener: Progress
    stage: str = ""

    def tell(self, text: str, part: float | None) -> None:
        """A new stage, or which part of it is done."""
        if part is None:
            self.stage = text
        self.listener(self.stage, part or 0.0)


def tell(level: int, text: str, part: float | None = None) -> None:
    """Log a stage (INFO), or with ``part`` which fraction of it is done (DEBUG), and tell who listens."""
    LOG.log(level, "%s", text, extra={PART: part} if part is not None else None)
    heard = _heard.get()
    if heard is not None and text and level <= logging.INFO and (level == logging.INFO or part is not None):
        heard.tell(text, part)


@contextmanager
def listened(listener: Progress | None) -> Iterator[None]:
    """``listener`` is told of all that goes on inside: the stage, and which fraction of it is done."""
    if listener is None:
        yield
        return
    token = _heard.set(_Heard(listener))
    try:
        yield
    finally:
        _heard.reset(token)


def level() -> int:
    """From which level on somebody listens."""
    return LOG.level if _heard.get() is None else logging.DEBUG


def note(text: str) -> None:
    """Something that a user wants to see while there is time to stop; it stays where it is shown."""
    LOG.info("%s", text, extra={NOTE: True})


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


def tracked(items: Collection[T]) -> Iterator[T]:
    """The items, one by one, telling before each which fraction of the current stage is done."""
    for number, item in enumerate(items):
        tell(logging.DEBUG, f"{number + 1} of {len(items)}", number / len(items))
        yield item
