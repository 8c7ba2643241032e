"""Signals that stop a command: one way for all of them, and never in the middle of what has to be finished."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Ctrl-C, a time limit, a terminal that was closed (what this system has of them)
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


def heed() -> None:
    """SIGTERM and SIGHUP clean up like Ctrl-C, but where somebody else answers or ignores them (``nohup``)."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in SIGNALS:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)


def interrupted(error: BaseException) -> bool:
    """Whether it is an interrupt, or what Python made of one: what stops a class in the making is a RuntimeError."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, KeyboardInterrupt):
        seen = seen.__cause__
    return seen is not None


@contextmanager
def uninterrupted() -> Iterator[None]:
    """What is done inside comes to its end; a signal that comes meanwhile is answered after it."""
    if threading.current_thread() is not threading.main_thread():
        # Python answers signals in the main thread
        yield
        return
    heard: list[int] = []
    handlers: dict[int, Any] = {}

    def later(number: int, frame: Any) -> None:
        heard.append(number)

    try:
        for number in SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler):
                handlers[number] = handler
                signal.signal(number, later)
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if heard:
            signal.raise_signal(heard[0])
