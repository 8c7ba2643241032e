"""What engines are given to do in tests: functions of a module, done in a child of a worker."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from spa_cli import written
from spa_cli.errors import ModelError
from spa_cli.memory import sharing, working_memory
from spa_cli.progress import LOG, note


def doubled(number: int) -> int:
    """Twice as much; of three nothing."""
    if number == 3:
        raise ModelError("there is no three; take another")
    return 2 * number


def added(number: int, other: int) -> int:
    """Of both."""
    return number + other


def told(file: str) -> str:
    """Writes a file, and says so."""
    Path(file).write_text("there")
    written.note(Path(file))
    LOG.warning("%s was written", file)
    note("and noted")
    return file


def slow(file: str) -> None:
    """Takes a moment."""
    time.sleep(0.3)
    Path(file).write_text("there")


def kills_its_worker(file: str, again: bool = False) -> str:
    """The first time; says whether it was told that it is done again."""
    if not Path(file).exists():
        Path(file).write_text("begun")
        os.kill(os.getppid(), signal.SIGKILL)
        signal.pause()
    return "again" if again else "as if new"


def kills_every_worker() -> None:
    """Whoever does it."""
    os.kill(os.getppid(), signal.SIGKILL)
    signal.pause()


def crashes() -> None:
    """As native code does."""
    os.kill(os.getpid(), signal.SIGSEGV)


def memory(share: int) -> int:
    """What there is for one of so many."""
    with sharing(share):
        return working_memory()
