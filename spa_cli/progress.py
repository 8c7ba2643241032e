"""What is going on, told as log records of the logger ``spa_cli``.

The command line listens with a bar (``--verbose``: with lines, ``--log-file``: with a file); a program that uses the
Python API may listen with any handler of ``logging``.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

LOG = logging.getLogger("spa_cli")
LOG.addHandler(logging.NullHandler())
# attribute of a record: which fraction of the stage is done
PART = "spa_part"

_within: ContextVar[str] = ContextVar("within", default="")

T = TypeVar("T")


def stage(text: str) -> None:
    """A new step has begun; an empty text: none has, results are about to be shown."""
    LOG.info(_within.get() + text if text else "")


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
        LOG.debug("%d of %d", number + 1, len(items), extra={PART: number / len(items)})
        yield item
