"""Jobs on the workers of a Dask cluster: one of processes here, or one that is there.

Dask schedules, moves what is asked and what is answered, replaces workers that die and does their jobs again. A worker
does a job in a process of its own, as one machine does: what a file crashes is that process and not the worker.
"""

from __future__ import annotations

import importlib
import logging
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from spa_cli import written
from spa_cli.engines import Asked, Job, Made, attempted
from spa_cli.engines.reach import client_of, dask
from spa_cli.errors import ModelError, SpaError, UsageError, first_line
from spa_cli.isolation import Bounds, Isolated
from spa_cli.progress import LOG, NOTE, level, tell, within

# one child a thread of the worker, kept from job to job: it has to read libraries first
_own = threading.local()


class Cluster:
    """A client of a cluster; one that it started, of so many ``workers``, goes with it."""

    def __init__(self, asked: Asked, bounds: Bounds, workers: int) -> None:
        self._asked, self._bounds, self._workers, self._stack = asked, bounds, workers, ExitStack()
        self._run, self._futures = uuid.uuid4().hex, list[Any]()

    def __enter__(self) -> Cluster:
        self._dask = dask(self._asked)
        with ExitStack() as stack:
            self._client = client_of(self._asked, self._workers, stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(Exception):
            # a cluster that is gone has nothing to stop
            self._client.cancel(self._futures, force=True)
        self._stack.close()

    def map(self, function: str, jobs: Sequence[Job]) -> Iterator[Made]:
        """See ``Engine``."""
        # what is the same in all of them (samples, say) travels once; as a task it is made again where a worker dies
        common = _common(jobs)
        sent = [self._client.submit(_itself, value, pure=False) for value in common.values()]
        futures = []
        for number, job in enumerate(jobs, len(self._futures)):
            key, own = f"spa-{self._run}-{number}", _without(job, common)
            given = (function, own, self._bounds, level(), key, list(common), *sent)
            futures.append(self._client.submit(work, *given, key=key, pure=False))
        self._futures += futures
        return self._collected(jobs, futures)

    def _collected(self, jobs: Sequence[Job], futures: Sequence[Any]) -> Iterator[Made]:
        for number, (job, future) in enumerate(zip(jobs, futures, strict=True)):
            with within(job.step):
                tell(logging.DEBUG, f"{number} of {len(jobs)} done", number / len(jobs))
                made, files, heard = self._result(job, future)
                for severity, text, noted in heard:
                    tell(severity, text, noted=noted)
            for file in files:
                written.note(Path(file))
            # the scheduler keeps what somebody still wants, and marks
            if job.again is not None:
                self._dask.Event(future.key, client=self._client).clear()
            future.release()
            yield made

    def _result(self, job: Job, future: Any) -> tuple[Made, list[str], list[tuple[int, str, bool]]]:
        try:
            found: tuple[Made, list[str], list[tuple[int, str, bool]]] = future.result()
            return found
        except self._dask.KilledWorker as error:
            return (
                Made(
                    error=ModelError(
                        f"'{job.what}' ended {error.allowed_failures + 1} workers that it was given to, one after "
                        "the other; prune it alone, or leave it out"
                    )
                ),
                [],
                [],
            )
        except (OSError, TimeoutError, self._dask.client.FutureCancelledError) as error:
            raise UsageError(
                f"the Dask cluster of '{self._asked.text}' was lost ({first_line(error)}); run it again, and the "
                "command with --force"
            ) from error
        except Exception as error:  # noqa: BLE001 - a worker may lack anything
            return (
                Made(
                    error=SpaError(
                        f"a worker of '{self._asked.text}' failed with '{job.what}' ({type(error).__name__}, "
                        f"{first_line(error)}); give workers the same spa, libraries and files"
                    )
                ),
                [],
                [],
            )


def _common(jobs: Sequence[Job]) -> dict[int, Any]:
    """Arguments that are the very same object in all of several jobs, by position."""
    if len(jobs) < 2:
        return {}
    first = jobs[0].arguments
    return {
        at: value
        for at, value in enumerate(first)
        if all(a[at] is value for job in jobs for a in (job.arguments, job.again) if a is not None)
    }


def _without(job: Job, common: Mapping[int, Any]) -> Job:
    def cut(given: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(None if at in common else value for at, value in enumerate(given))

    return replace(job, arguments=cut(job.arguments), again=None if job.again is None else cut(job.again))


def _itself(value: Any) -> Any:
    return value


def work(
    function: str, job: Job, bounds: Bounds, heard: int, key: str, places: Sequence[int] = (), *common: Any
) -> tuple[Made, list[str], list[tuple[int, str, bool]]]:
    """On a worker: do a job in a child; what came of it, the files it wrote, and what was said meanwhile.

    ``common``: arguments that all jobs have, ``places``: where.
    """
    arguments = list(job.again if job.again is not None and _begun(key) else job.arguments)
    for at, value in zip(places, common, strict=True):
        arguments[at] = value
    if getattr(_own, "bounds", None) != bounds:
        _own.child, _own.bounds = Isolated(bounds), bounds
    LOG.setLevel(heard)
    said = _Kept()
    LOG.addHandler(said)
    try:
        with written.noting() as files:
            made = attempted(lambda: _own.child.call(job.what, "", function, *arguments))
    finally:
        LOG.removeHandler(said)
    return made, [str(file) for file in files], said.records


def _begun(key: str) -> bool:
    """Whether a worker began this before, and did not come to its end."""
    mark = importlib.import_module("distributed").Event(key)
    before = bool(mark.is_set())
    mark.set()
    return before


class _Kept(logging.Handler):
    """Warnings and notes of the job at hand, not of those that other threads of the worker do."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._thread = threading.get_ident()
        self.records: list[tuple[int, str, bool]] = []

    def emit(self, record: logging.LogRecord) -> None:
        noted = getattr(record, NOTE, False)
        if record.thread == self._thread and (noted or record.levelno >= logging.WARNING):
            self.records.append((record.levelno, self.format(record), noted))
