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
from tests.quick import shorten

STOPS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# a step on a file, by the name of Python's audit event (os.replace is a rename, too)
STEPS = {"open", "os.link", "os.rename", "os.remove", "os.mkdir", "os.rmdir"}
# seconds after which a command does
HANGS = 60


@dataclass(frozen=True)
class Ended:
    """How a child ended: its code (negative: by a signal), what it said on stderr, how long it took, steps on files."""

    code: int
    said: str
    seconds: float
    steps: int


def run(
    arguments: list[Any],
    place: Place,
    stop: int = 0,
    after: float | None = None,
    step: int | None = None,
    limit: int | None = None,
) -> Ended:
    """One command in a child, which is sent ``stop`` after so many seconds, or just before that step.

    ``limit``: no file may be larger, in bytes.
    """
    errors, count = place.root / "stderr", place.root / "steps"
    count.write_text("")
    begun = time.perf_counter()
    # what comes before the child is itself waits
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS[1:])
    child = os.fork()
    if not child:
        try:
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            _be([str(a) for a in arguments], place, errors, count, stop if step is not None else 0, step or 0)
        except BaseException:  # noqa: BLE001 - the child must not go on as its parent
            traceback.print_exc()
        finally:
            os._exit(70)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS[1:])
    if after is not None:
        time.sleep(max(0.0, begun + after - time.perf_counter()))
        os.kill(child, stop)
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        time.sleep(0.002)
        if time.perf_counter() > begun + HANGS:
            os.kill(child, signal.SIGKILL)
            raise TimeoutError(f"{arguments} hangs, stopped by {stop} after {after} s, at step {step}")
    status = ended[1]
    seconds = time.perf_counter() - begun
    return Ended(os.waitstatus_to_exitcode(status), errors.read_text(), seconds, len(count.read_text()))


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
    except BaseException as error:  # noqa: BLE001 - it is the finding
        os.write(2, f"{type(error).__name__} came through\n".encode())
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
