"""What children of ``spa_cli.isolation`` are asked for in tests; it imports little, so that they begin soon."""

from __future__ import annotations

import os
import signal
import time

from spa_cli.errors import ResourceError, UnreachableError
from spa_cli.progress import LOG, stage, tracked


def double(number: int) -> dict[str, object]:
    stage("doubling")
    list(tracked([1, 2]))
    LOG.warning("numbers grow")
    print("a library that prints")
    return {"number": 2 * number, "process": os.getpid()}


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def refuse() -> None:
    raise UnreachableError("it is too far; go less far")


def lack() -> None:
    raise ResourceError("there is no room; make some")


def hang(seconds: float) -> None:
    time.sleep(seconds)


def fill() -> None:
    bytearray(3 << 30)


def raise_something() -> None:
    raise KeyError("k")
