"""Where many pieces of work are done: one after the other in a process, or spread over the workers of a Dask cluster.

An engine maps a function of a module over jobs and gives what came of each, in their order. What it gives is the same
whoever did it: every job finds the same files, and computes on one thread what threads would round otherwise.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from spa_cli.errors import OptionError, SpaError
from spa_cli.isolation import Bounds
from spa_cli.threads import cores

# one process, as long as nothing else is asked for
HERE = "here"
_LOCAL, _REMOTE = "dask", "dask://"


@dataclass(frozen=True)
class Job:
    """``what``: the file that it is about, for messages; ``step``: what its stages are steps of.

    ``again``: the arguments where it was begun before and its worker died, ``None``: the same. Then files that it was
    to write may be there, and are its own.
    """

    what: str
    step: str
    arguments: tuple[Any, ...]
    again: tuple[Any, ...] | None = None


@dataclass(frozen=True)
class Made:
    """What came of a job: its value, or why there is none."""

    value: Any = None
    error: SpaError | None = None


class Engine(Protocol):
    """Used with ``with``: what it started ends with it, and what is not done by then is not done."""

    def map(self, function: str, jobs: Sequence[Job]) -> Iterator[Made]:
        """What ``function`` ("package.module:name") gives for every job, in order, as they are made; begins now."""
        ...


@dataclass(frozen=True)
class Asked:
    """``--engine``, read: ``workers`` of this machine (0: one a core), or those of the cluster at ``address``."""

    text: str
    spread: bool = False
    workers: int = 0
    address: str = ""

    def sharing(self, jobs: int) -> int:
        """How many work on so many jobs at the same time on this machine, and share its memory."""
        return min(self.workers or cores(), max(jobs, 1)) if self.spread and not self.address else 1

    @staticmethod
    def of(text: str) -> Asked:
        """Raises OptionError for words that name no engine."""
        if text in ("", HERE):
            return Asked(HERE)
        if text.startswith(_REMOTE) and _is_address(text.removeprefix(_REMOTE)):
            return Asked(text, True, address=text.removeprefix(_REMOTE))
        name, _, count = text.partition(":")
        if name == _LOCAL and (text == _LOCAL or (count.isascii() and count.isdigit() and 0 < int(count) < 1000)):
            return Asked(text, True, int(count or 0))
        raise OptionError(
            f"--engine '{text}' is none; write here, dask (workers on this machine, one a core), dask:4 (so many) or "
            "dask://HOST:PORT (a cluster that is there)"
        )


def engine_of(asked: Asked, bounds: Bounds | None, jobs: int) -> AbstractContextManager[Engine]:
    """The engine to do so many jobs with; ``bounds``: each in a process of its own, which may take so much."""
    if asked.spread:
        from spa_cli.engines.cluster import Cluster

        return Cluster(asked, bounds or Bounds(), asked.sharing(jobs))
    from spa_cli.engines.here import Here

    return Here(bounds)


def attempted(call: Callable[[], Any]) -> Made:
    """What comes of a call that may raise a SpaError."""
    try:
        return Made(call())
    except SpaError as error:
        return Made(error=error)


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    with contextlib.suppress(ValueError):
        return bool(host) and text.isprintable() and 0 < int(port) < 65536
    return False
