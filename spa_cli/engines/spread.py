"""Pieces of the work on one model, done by the workers of a Dask cluster.

Dask decides who does what, moves what is asked for, replaces workers that die, and makes again what went with them: all
that a piece is given is a piece itself, or comes with it.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from importlib.metadata import version
from typing import Any, TypeVar

import numpy as np

from spa_cli.engines import Asked
from spa_cli.engines.reach import client_of, dask
from spa_cli.errors import SpreadError, first_line
from spa_cli.extras import extra
from spa_cli.progress import note
from spa_cli.version import __version__

# bytes of a piece and its arguments above which Dask would give advice
_LARGE = "distributed.admin.large-graph-warning-threshold"
# others round otherwise
_PACKAGES = ("numpy", "onnx", "onnxruntime")

T = TypeVar("T")


class Spread:
    """A ``Pool`` of workers; those of this machine are started for the first piece, and end with it."""

    spread = True

    def __init__(self, asked: Asked) -> None:
        self._asked, self._stack, self._client = asked, ExitStack(), None
        self._dask = dask(asked)
        self._config = extra("dask.config", f"--engine {asked.text} needs Dask", "distributed")
        self.under_way = 1
        # what was sent once, beside what it was made of
        self._sent: list[tuple[object, Any]] = []

    def __enter__(self) -> Spread:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._client is None and kind is None:
            note(f"nothing was there for the workers of --engine {self._asked.text} to do")
        self._sent.clear()
        # a cluster that is gone has nothing to end
        with suppress(*([OSError, TimeoutError] if kind else [])):
            self._stack.close()

    @property
    def _workers(self) -> Any:
        if self._client is None:
            with ExitStack() as stack:
                self._client = client_of(self._asked, self._asked.sharing(1000), stack)
                self._check()
                self._stack = stack.pop_all()
        return self._client

    def _check(self) -> None:
        """Raises SpreadError where workers would give something else."""
        assert self._client is not None
        try:
            found = self._client.run(about_here)
        except Exception as error:
            raise SpreadError(
                f"a worker of --engine {self._asked.text} does not know spa ({type(error).__name__}, "
                f"{first_line(error)}); give workers the same spa and libraries"
            ) from error
        mine = about_here()
        for there in found.values():
            other = next((name for name in mine if name != "threads" and there[name] != mine[name]), "")
            if other:
                raise SpreadError(
                    f"a worker of --engine {self._asked.text} has {other} {there[other]}, and here it is "
                    f"{mine[other]}; give workers the same spa and libraries"
                )
            if there["threads"] != "1":
                raise SpreadError(
                    f"a worker of --engine {self._asked.text} has no OPENBLAS_NUM_THREADS of 1, and sums that threads "
                    "share are rounded otherwise; run it with 'dask worker' and a nanny, or set that"
                )
        self.under_way = max(1, len(found))

    def send(self, value: Any) -> Any:
        """See ``Pool``."""
        return self._submit(f"given-{type(value).__name__}", _itself, value)

    def once(self, of: T, make: Callable[[T], Any] | None = None) -> Any:
        """See ``Pool``."""
        for owner, sent in self._sent:
            if owner is of:
                return sent
        self._sent.append((of, self.send(of if make is None else make(of))))
        return self._sent[-1][1]

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """See ``Pool``."""
        return self._submit(function.__name__, _quietly, function, *arguments)

    def each(self, function: Callable[..., Iterable[Any]], *arguments: Any) -> Any:
        """See ``Pool``."""
        return self._submit(function.__name__, _listed, function, *arguments)

    def _submit(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        workers = self._workers
        # Dask learns by the first part how long such pieces take
        key = f"{name}-{uuid.uuid4().hex}"
        with self._config.set({_LARGE: "1 TB"}):
            # what a piece gives is let go where nothing stands for it any more
            return workers.submit(function, *arguments, key=key, pure=False)

    def get(self, found: Any) -> Any:
        """See ``Pool``."""
        if not isinstance(found, self._dask.Future):
            return found
        try:
            return found.result()
        except self._dask.KilledWorker as error:
            raise SpreadError(
                f"a piece of the work ended {error.allowed_failures + 1} workers of --engine {self._asked.text}, one "
                "after the other; prune it without"
            ) from error
        except BaseException as error:
            if found.status == "error" or not isinstance(
                error, (OSError, TimeoutError, self._dask.client.FutureCancelledError)
            ):
                raise
            raise SpreadError(
                f"the Dask cluster of --engine {self._asked.text} was lost ({first_line(error)}); run it again"
            ) from error


def about_here() -> dict[str, str]:
    """What a result depends on that may differ from worker to worker."""
    found = {"spa": __version__, **{name: version(name) for name in _PACKAGES}}
    return {**found, "threads": os.environ.get("OPENBLAS_NUM_THREADS", "")}


def _itself(value: Any) -> Any:
    return value


def _quietly(function: Callable[..., Any], *arguments: Any) -> Any:
    """What is too large becomes infinite, and whoever asks looks at it."""
    with np.errstate(over="ignore", invalid="ignore"):
        return function(*arguments)


def _listed(function: Callable[..., Iterable[Any]], *arguments: Any) -> list[Any]:
    with np.errstate(over="ignore", invalid="ignore"):
        return list(function(*arguments))
