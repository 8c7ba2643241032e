"""Pieces of work for tests: functions of a module, done on a worker."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

from spa_cli.errors import ModelError


def added(number: int, other: int) -> int:
    """Of both."""
    return number + other


def counted(number: int) -> Iterator[int]:
    """So many."""
    yield from range(number)


def fails(what: str) -> None:
    """Says so."""
    raise ModelError(what) if what else FileNotFoundError("a file that is not there")


def process() -> int:
    """Whose it is."""
    return os.getpid()


def kills_its_worker(file: str) -> str:
    """The first time."""
    if not Path(file).exists():
        Path(file).write_text("begun")
        os.kill(os.getpid(), signal.SIGKILL)
    return "again"


def kills_every_worker() -> None:
    """Whoever does it."""
    os.kill(os.getpid(), signal.SIGKILL)


def threads(count: str) -> None:
    """As if it had been started with so many."""
    os.environ["OPENBLAS_NUM_THREADS"] = count
