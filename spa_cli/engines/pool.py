"""Where pieces of the work on one model are done: by the cores of this process, or the workers of a Dask cluster.

A piece is a function of its arguments alone. What a piece gives stays where it was made, for pieces that go on with it,
until somebody asks for it. What is added up is added up by who asks, in the order in which it asks: the result is the
same whoever did a piece.
"""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

from spa_cli.engines import Asked
from spa_cli.threads import begin, cores, one_of_many

T = TypeVar("T")


class Pool(Protocol):
    """``under_way``: how many pieces are worth beginning before the first of them is asked for."""

    under_way: int
    spread: bool

    def send(self, value: Any) -> Any:
        """Stands for a value among the arguments of pieces: it travels once, however many are given it."""
        ...

    def once(self, of: T, make: Callable[[T], Any] | None = None) -> Any:
        """What ``send`` gave for something, or what was made of it, the first time that it was asked for."""
        ...

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Stands for what a function of a module gives; arguments may be what others stand for."""
        ...

    def each(self, function: Callable[..., Iterable[Any]], *arguments: Any) -> Any:
        """The same for a function that yields: one after the other nothing of it is made before it is asked for."""
        ...

    def get(self, found: Any) -> Any:
        """What something stands for; raises what the function raised, and SpreadError where nobody could do it."""
        ...


class Alone:
    """All of it in this thread, one after the other."""

    under_way, spread = 0, False

    def send(self, value: Any) -> Any:
        """See ``Pool``."""
        return value

    def once(self, of: T, make: Callable[[T], Any] | None = None) -> Any:
        """See ``Pool``; nothing travels that would have to be kept."""
        return of if make is None else make(of)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """See ``Pool``."""
        return function(*arguments)

    each = call

    def get(self, found: Any) -> Any:
        """See ``Pool``."""
        return found


class Threads(Alone):
    """All of it in this process, on all of its cores: a piece is begun when it is called."""

    @property
    def under_way(self) -> int:  # type: ignore[override]
        """See ``Pool``."""
        return cores()

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """See ``Pool``."""
        return begin(_there, function, *arguments)

    def each(self, function: Callable[..., Iterable[Any]], *arguments: Any) -> Any:
        """See ``Pool``; once it is begun all of it is made."""
        return begin(_listed, function, *arguments)

    def get(self, found: Any) -> Any:
        """See ``Pool``."""
        return found.result() if isinstance(found, Future) else found


def _there(function: Callable[..., Any], *arguments: Any) -> Any:
    """Pieces are begun in order: those that this one is given are done, or under way."""
    return function(*(a.result() if isinstance(a, Future) else a for a in arguments))


def _listed(function: Callable[..., Iterable[Any]], *arguments: Any) -> list[Any]:
    return list(_there(function, *arguments))


_ALONE, _THREADS = Alone(), Threads()
_here: ContextVar[Pool | None] = ContextVar("pool", default=None)


def pool() -> Pool:
    """That of the command at hand."""
    return _here.get() or _of_this_process()


def _of_this_process() -> Pool:
    return _ALONE if cores() == 1 or one_of_many() else _THREADS


@contextlib.contextmanager
def spreading(asked: Asked) -> Iterator[None]:
    """Spread what can be spread of the work inside; workers are looked for when the first piece is begun."""
    if not asked.spread:
        yield
        return
    from spa_cli.engines.spread import Spread

    with Spread(asked) as workers:
        token = _here.set(workers)
        try:
            yield
        finally:
            _here.reset(token)


def pool_for(size: int, worth: int, most: int) -> Pool:
    """That of the command, for pieces of a size that is worth sending, or of which there is room for several here; else
    that of this process, or one after the other where there isn't.
    """
    at = pool()
    if at.spread and size < worth:
        at = _of_this_process()
    return at if at.spread or size <= most else _ALONE


def ahead(begun: Iterable[T], at: Pool | None = None, room: float = math.inf) -> Iterator[T]:
    """The same in order; so many more as the pool has use for have been begun, ``room`` at most."""
    waiting, most = deque[T](), min((at or pool()).under_way, room)
    for one in begun:
        waiting.append(one)
        if len(waiting) > most:
            yield waiting.popleft()
    while waiting:
        yield waiting.popleft()
