"""The same bytes whatever the machine does besides: NumPy's linear algebra on one thread, work that is many on all.

What OpenBLAS rounds depends on how many threads share a product, by default as many as there are cores. onnxruntime may
take several: what it gives does not depend on their number. What is worked out item by item is spread over cores, and
asked for in order, so that sums are the same however many there are.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from functools import cache, partial
from itertools import chain, islice
from typing import Any, TypeVar

_NAME = "OPENBLAS_NUM_THREADS"
# seconds of work that are worth handing to a thread, and how many items that is at most
_WORTH, _TOGETHER = 0.01, 16
# whether this thread is at one item of many
_at = threading.local()

S = TypeVar("S")
T = TypeVar("T")


@cache
def cores() -> int:
    """What this process may run on, as it was when that was asked first."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def each(function: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
    """What a function gives of every item, in their order: of several at the same time, of each on one core.

    It pays for functions that are mostly NumPy and onnxruntime, which don't hold up other threads. Within one of them
    it is one after the other. A thread gets one item at a time, and where that is little work some of them. As many
    results as the threads are at work on are ahead of who asks, and no work goes on when this ends.
    """
    rest = iter(items)
    first = [*islice(rest, 2)]
    if len(first) < 2 or cores() == 1 or one_of_many():
        yield from map(function, chain(first, rest))
        return
    begun, size, items = deque[Future[tuple[list[T], float]]](), 1, chain(first, rest)
    try:
        while some := [*islice(items, size)]:
            begun.append(begin(_all, function, some))
            if len(begun) > cores():
                found, seconds = begun.popleft().result()
                if seconds < _WORTH:
                    size = min(2 * size, _TOGETHER)
                yield from found
        while begun:
            yield from begun.popleft().result()[0]
    finally:
        for one in begun:
            one.cancel()
        wait(begun)


def _all(function: Callable[[S], T], items: list[S]) -> tuple[list[T], float]:
    """What a function gives of some items, and how long that takes."""
    at = time.perf_counter()
    return [function(item) for item in items], time.perf_counter() - at


def one_of_many() -> bool:
    """Whether this is within a function of ``each``, or one that was begun."""
    return getattr(_at, "one", False)


def begin(function: Callable[..., T], *arguments: Any) -> Future[T]:
    """Have a function called by another thread, which knows what this one does of providers, progress and errors."""
    import numpy as np

    return _pool().submit(copy_context().run, _called, function, arguments, np.geterr())


def beside(function: Callable[..., T], *arguments: Any) -> Callable[[], T]:
    """Begin something that is wanted later: what is called then gives it. On one core nothing is begun before that."""
    return partial(function, *arguments) if cores() == 1 or one_of_many() else begin(function, *arguments).result


def _called(function: Callable[..., T], arguments: tuple[Any, ...], errors: Any) -> T:
    import numpy as np

    _at.one = True
    with np.errstate(**errors):
        return function(*arguments)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(cores(), "spa")


def on_one_thread() -> None:
    """Load NumPy so that its linear algebra takes one thread, whatever the environment asks for.

    Nothing changes where NumPy was loaded before: in a program that calls commands. Processes that are started later
    see the environment as it was.
    """
    if "numpy" in sys.modules:
        return
    asked = os.environ.get(_NAME)
    os.environ[_NAME] = "1"
    import numpy as np  # noqa: F401 - it is read as it loads

    if asked is None:
        del os.environ[_NAME]
    else:
        os.environ[_NAME] = asked
