"""How models are run where they are timed: ``--batch`` samples at a time, on ``--threads``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass

from spa_cli.text import plural


@dataclass(frozen=True)
class Timed:
    """``batch`` samples at a time; ``threads`` that compute (``None``: as many as onnxruntime takes)."""

    batch: int = 1
    threads: int | None = None


ALONE = Timed()
_asked: ContextVar[Timed] = ContextVar("timed", default=ALONE)


def asked() -> Timed:
    """What is in force."""
    return _asked.get()


@contextlib.contextmanager
def timed_as(batch: int, threads: int | None) -> Iterator[None]:
    """Time so inside."""
    token = _asked.set(Timed(batch, threads))
    try:
        yield
    finally:
        _asked.reset(token)


def in_words(batch: int, threads: int | None) -> str:
    """1, None -> '1 sample at a time, all threads'."""
    how = {None: "all threads", 1: "one thread"}.get(threads, f"{threads} threads")
    return f"{plural(batch, 'sample')} at a time, {how}"


def unlike(one: Timed, first: Timed) -> str:
    """How a setting that nobody asked for is another than the first, "" where it isn't."""
    threads = " on one thread" if one.threads != first.threads else ""
    return threads + (f" for {one.batch} samples at a time" if one.batch != first.batch else "")
