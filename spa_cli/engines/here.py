"""One job after the other: in this process, or in a process of its own."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from spa_cli.engines import Job, Made, attempted
from spa_cli.isolation import Bounds, calling
from spa_cli.progress import within


class Here:
    """``bounds``: of the child that jobs are done in; ``None``: in this process."""

    def __init__(self, bounds: Bounds | None) -> None:
        self._bounds, self._stack = bounds, ExitStack()

    def __enter__(self) -> Here:
        self._child = self._stack.enter_context(calling(self._bounds))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def map(self, function: str, jobs: Sequence[Job]) -> Iterator[Made]:
        """See ``Engine``."""
        for job in jobs:
            yield attempted(lambda job=job: self._done(function, job))  # type: ignore[misc]

    def _done(self, function: str, job: Job) -> Any:
        if self._child is not None:
            return self._child.call(job.what, job.step, function, *job.arguments)
        module, _, name = function.partition(":")
        with within(job.step):
            return getattr(importlib.import_module(module), name)(*job.arguments)
