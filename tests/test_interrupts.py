"""Signals stop a command, after what has to be finished."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from spa_cli.interrupts import SIGNALS, heed, interrupted, uninterrupted


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    # a shell lets what runs in the background ignore it
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS, ids=[s.name for s in SIGNALS])
def test_what_is_done_inside_comes_to_its_end(number) -> None:
    signal.signal(number, signal.default_int_handler)
    done = []
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        signal.raise_signal(number)
        signal.raise_signal(number)
        done.append("finished")
    assert done == ["finished"]
    assert signal.getsignal(number) is signal.default_int_handler


def test_one_inside_another_is_answered_at_the_outer_end() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
        done.append("between")
    assert done == ["between"]


def test_a_failure_inside_does_not_lose_the_signal() -> None:
    with pytest.raises(KeyboardInterrupt) as raised, uninterrupted():
        signal.raise_signal(signal.SIGINT)
        raise OSError("no room")
    assert str(raised.value.__context__) == "no room"


@pytest.mark.parametrize("number", SIGNALS[1:], ids=[s.name for s in SIGNALS[1:]])
def test_all_of_them_are_heeded_but_what_somebody_else_answers(number) -> None:
    signal.signal(number, signal.SIG_DFL)
    heed()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
    # nohup
    signal.signal(number, signal.SIG_IGN)
    heed()
    signal.raise_signal(number)
    assert signal.getsignal(number) == signal.SIG_IGN


def test_other_threads_are_not_asked() -> None:
    found = []

    def work() -> None:
        before = [signal.getsignal(number) for number in SIGNALS]
        heed()
        with uninterrupted():
            found.append([signal.getsignal(number) for number in SIGNALS] == before)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [True]


class _Stopped:
    def __set_name__(self, owner: type, name: str) -> None:
        raise KeyboardInterrupt


def test_what_stops_a_class_in_the_making_is_an_interrupt() -> None:
    """While modules are imported: Python 3.11 makes a RuntimeError of it."""
    with pytest.raises((RuntimeError, KeyboardInterrupt)) as raised:
        type("Made", (), {"name": _Stopped()})
    assert interrupted(raised.value)
    assert interrupted(KeyboardInterrupt())
    assert not interrupted(RuntimeError("something else"))
