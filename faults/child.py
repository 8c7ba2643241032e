"""One command in a child that is forked off this process, in which everything is imported already."""

from __future__ import annotations

import atexit
import functools
import importlib
import os
import pkgutil
import resource
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import spa_cli
from faults.place import Place
from spa_cli.cli.app import main as spa
from tests.processes import Watch
from tests.quick import shorten

STOPS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# a step on a file, by the name of Python's audit event (os.replace is a rename, too)
STEPS = {"open", "os.link", "os.rename", "os.remove", "os.mkdir", "os.rmdir"}
# seconds of work after which a command does
HANGS = 60


@dataclass(frozen=True)
class Ended:
    """How a child ended: its code (negative: by a signal), what it said on stderr, how long it took, steps on files."""

    code: int
    said: str
    seconds: float
    steps: int


class Started:
    """One command in a child, which is sent ``stop`` just before a ``step``, or when ``finish`` says so.

    ``limit``: no file may be larger, in bytes. ``tag``: tells children apart that run at the same time.
    """

    def __init__(
        self, arguments: list[Any], place: Place, stop: int = 0, step: int = 0, limit: int | None = None, tag: str = ""
    ) -> None:
        self._arguments, self._stop = arguments, stop
        self._errors, self._count = place.root / f"stderr{tag}", place.root / f"steps{tag}"
        self._count.write_text("")
        self._begun = time.perf_counter()
        # what comes before the child is itself waits
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPS[1:])
        self._child = os.fork()
        if not self._child:
            try:
                if limit is not None:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
                _be([str(a) for a in arguments], place, self._errors, self._count, stop if step else 0, step)
            except BaseException:  # noqa: BLE001 - the child must not go on as its parent
                traceback.print_exc()
            finally:
                os._exit(70)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS[1:])

    def finish(self, after: float | None = None) -> Ended:
        """Wait for its end; stopped ``after`` so many seconds. Raises TimeoutError where it hangs."""
        if after is not None:
            time.sleep(max(0.0, self._begun + after - time.perf_counter()))
            os.kill(self._child, self._stop)
        watch = Watch(self._child, HANGS)
        while not (ended := os.waitpid(self._child, os.WNOHANG))[0]:
            time.sleep(0.002)
            if watch.late:
                os.kill(self._child, signal.SIGKILL)
                raise TimeoutError(f"{self._arguments} hangs, stopped by {self._stop} after {after} s")
        seconds = time.perf_counter() - self._begun
        code = os.waitstatus_to_exitcode(ended[1])
        return Ended(code, self._errors.read_text(), seconds, len(self._count.read_text()))


def run(
    arguments: list[Any],
    place: Place,
    stop: int = 0,
    after: float | None = None,
    step: int | None = None,
    limit: int | None = None,
) -> Ended:
    """One command, from its start to its end."""
    return Started(arguments, place, stop, step or 0, limit).finish(after)


def _be(arguments: list[str], place: Place, errors: Path, count: Path, stop: int, step: int) -> None:
    """What the child does; never returns."""
    for number in STOPS[1:]:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS[1:])
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    counted = os.open(count, os.O_WRONLY | os.O_APPEND)
    os.environ |= {"TMPDIR": str(place.temporary), "SPA_DEVICES": str(place.root / "devices")}
    tempfile.tempdir = None
    inside, taken = str(place.root), 0

    def watch(event: str, given: tuple[Any, ...]) -> None:
        nonlocal taken
        if event in STEPS and str(given[0]).startswith((inside, "/proc/self/fd")):
            taken += 1
            os.write(counted, b".")
            if stop and taken == step:
                os.kill(os.getpid(), stop)

    sys.addaudithook(watch)
    sys.argv = ["spa", *arguments]
    code: Any = 1
    try:
        spa()
    except SystemExit as left:
        code = left.code or 0
    except BaseException:  # noqa: BLE001 - it is the finding
        os.write(2, f"came through: {traceback.format_exc()}\n".encode())
    atexit._run_exitfuncs()
    os._exit(code)


def load_all() -> None:
    """Import what commands import when they need it."""
    for module in pkgutil.walk_packages(spa_cli.__path__, "spa_cli."):
        if module.name != "spa_cli.__main__":
            importlib.import_module(module.name)


def quick() -> None:
    """Measure as little as can be: what is measured is no part of what is looked at."""
    from spa_cli.report.page import measure

    shorten(setattr)
    measure.SECONDS = 0.05
    measure.profile = functools.partial(measure.profile, seconds=0.01)
