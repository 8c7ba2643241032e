"""Work in a process of its own: what ends that, or takes too much time or memory, is one sentence about one file.

A file from somewhere may crash the native code that loads and runs it, or keep it busy for ever. The child is a fresh
Python, never a fork, so that it is the same on every system. What it says comes as JSON, never as objects: it may no
longer be what it was. Memory is bounded where the system can (Linux); elsewhere by what the machine has.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from spa_cli import errors, written
from spa_cli.errors import ModelError, OptionError, ResourceError, SpaError, UsageError, first_line
from spa_cli.interrupts import heed
from spa_cli.memory import limited, whole_memory
from spa_cli.progress import LOG, NOTE, PART, level, tell, within
from spa_cli.threads import on_one_thread

# seconds that one file may take unless said otherwise
SECONDS = 3600.0
# set in a child that runs a whole command: the bytes it may take
_MARK = "SPA_ISOLATED"
# a child has begun after so many seconds, whatever else the machine does
_START = 300.0
# how often a child looks whether its parent is still there, in seconds
_LOOK = 0.5
# a child that was asked to end has so many seconds to leave nothing behind
_GRACE = 5.0


@dataclass(frozen=True)
class Bounds:
    """What one file may take: ``seconds``, and ``memory`` in bytes (``None``: what the machine has)."""

    seconds: float = SECONDS
    memory: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.seconds < float("inf"):
            raise OptionError(f"--time-limit has to be a positive number of seconds, not {self.seconds:g}")

    @property
    def bytes(self) -> int:
        """The limit on memory."""
        return self.memory or whole_memory()


class Isolated:
    """A child process for one piece of work after the other; another one takes its place once it has ended.

    Used with ``with``: the child goes with it.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._child: subprocess.Popen[bytes] | None = None
        self._said: queue.Queue[bytes] = queue.Queue()

    def __enter__(self) -> Isolated:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, what: str, step: str, function: str, *arguments: Any) -> Any:
        """What ``function`` ("package.module:name") gives for ``arguments``, as far as JSON can tell.

        ``what``: the file, for messages; ``step``: what the work's stages are steps of. Raises the SpaError that it
        raises; ModelError if it ends the process or takes too long; UsageError if arguments can't be handed over.
        """
        try:
            job = pickle.dumps((sys.path, level(), self._bounds.bytes, step, function, arguments))
        except Exception as error:
            raise UsageError(
                f"samples of a function that only this program knows can't go to a process of its own "
                f"({first_line(error)}); give --no-isolate (isolate=False), or a function of a module"
            ) from error
        child = self._started()
        try:
            with contextlib.suppress(BrokenPipeError):
                assert child.stdin is not None
                child.stdin.write(len(job).to_bytes(8, "little") + job)
                child.stdin.flush()
            deadline = time.monotonic() + _START
            while line := self._said.get(timeout=max(0.0, deadline - time.monotonic())):
                answer = json.loads(line)
                if "begun" in answer:
                    deadline = time.monotonic() + self._bounds.seconds
                elif "log" in answer:
                    tell(**answer["log"])
                elif "written" in answer:
                    for file in answer["written"]:
                        written.note(Path(file))
                elif "error" in answer:
                    raise _raised(**answer["error"])
                else:
                    return answer["value"]
        except queue.Empty:
            self.close()
            raise ModelError(_late(what, self._bounds)) from None
        except BaseException as error:
            if not isinstance(error, SpaError):
                # interrupted, or what it says is no longer to be understood
                self.close()
            raise
        code = child.wait()
        self.close()
        raise _ended(what, code)

    def close(self) -> None:
        """End the child, if there is one: asked first, so that it leaves nothing behind."""
        child, self._child = self._child, None
        if child is not None:
            _end(child)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._child is None or self._child.poll() is not None:
            self.close()
            self._said = queue.Queue()
            self._child = subprocess.Popen(
                command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            assert self._child.stdout is not None
            threading.Thread(target=_listen, args=(self._child.stdout, self._said), daemon=True).start()
        return self._child


def command() -> list[str]:
    """How a child is started."""
    return [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}; from {__name__} import serve; serve()"]


def rerun(arguments: list[str], bounds: Bounds, what: str) -> int:
    """Run a command of ``spa`` again in a child that writes where this process writes; its exit code.

    Raises ModelError if it ends the process or takes too long.
    """
    environment = {**child_environment(), _MARK: str(bounds.bytes)}
    child = subprocess.Popen([sys.executable, "-m", "spa_cli", *arguments], env=environment)
    try:
        code = child.wait(bounds.seconds)
    except subprocess.TimeoutExpired:
        _end(child)
        raise ModelError(_late(what, bounds)) from None
    except BaseException:
        _end(child)
        raise
    if not 0 <= code < 128 and code != 130:
        raise _ended(what, code)
    return code


def child_environment() -> dict[str, str]:
    """The variables of this process for another Python, which is to find the same modules."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [*sys.path, os.environ.get("PYTHONPATH")]))}


def inside() -> bool:
    """Whether this process is the child of a command that was isolated; its limits are then in force."""
    if _MARK not in os.environ:
        return False
    _limit(int(os.environ[_MARK]))
    return True


def _late(what: str, bounds: Bounds) -> str:
    return f"'{what}' took more than {bounds.seconds:g} s and was given up; raise --time-limit if it is only large"


def _ended(what: str, code: int) -> SpaError:
    why = how_it_ended(code)
    if (allowed := limited()) is not None:
        return ResourceError(
            f"there is not enough memory for '{what}' ({why}, where 'ulimit' allows {allowed / 1e9:.2f} GB); allow "
            "more, or leave it out"
        )
    return ModelError(f"'{what}' ended the process that it was opened in ({why}); export it again, or leave it out")


def how_it_ended(code: int) -> str:
    """What ended a child, by the code that Python tells (negative: a signal)."""
    why = f"exit code {code}"
    if code < 0:
        with contextlib.suppress(ValueError):
            why = signal.Signals(-code).name
    return "SIGKILL, as a system does that is out of memory" if why == "SIGKILL" else why


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.stdin is not None:
        with contextlib.suppress(OSError):
            child.stdin.close()
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(_GRACE)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _listen(stream: IO[bytes], said: queue.Queue[bytes]) -> None:
    with stream:
        for line in stream:
            said.put(line)
    # the end
    said.put(b"")


def _raised(kind: str, text: str) -> SpaError:
    found = getattr(errors, kind, None)
    return found(text) if isinstance(found, type) and issubclass(found, SpaError) else SpaError(text)


# -- the child --------------------------------------------------------------------------------------------------------


def serve() -> None:
    """Do what comes on standard input, job after job, and answer on what was standard output."""
    heed()
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    # as a command does
    on_one_thread()
    out, jobs = os.fdopen(os.dup(1), "w", encoding="utf-8"), sys.stdin.buffer
    # whatever libraries print there is not meant for the parent
    os.dup2(2, 1)
    handler = _Telling(out)
    LOG.addHandler(handler)
    try:
        while head := jobs.read(8):
            work = _work(pickle.loads(jobs.read(int.from_bytes(head, "little"))))
            print(json.dumps({"begun": True}), file=out, flush=True)
            with written.noting() as files:
                answer = work()
            print(json.dumps({"written": [str(file) for file in files]}), file=out)
            print(json.dumps(answer), file=out, flush=True)
    except (KeyboardInterrupt, BrokenPipeError):
        os._exit(130)


def _end_with(parent: int) -> None:
    """Nobody waits for what a child of a process that was killed makes, and another may be making it anew."""
    while os.getppid() == parent:
        time.sleep(_LOOK)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE)
    os._exit(1)


def _work(job: tuple[list[str], int, int, str, str, tuple[Any, ...]]) -> Callable[[], dict[str, Any]]:
    """Get ready for a job; what does it, and gives the answer."""
    sys.path[:], heard, memory, step, function, arguments = job
    LOG.setLevel(heard)
    _limit(memory)
    module, _, name = function.partition(":")
    found = getattr(importlib.import_module(module), name)

    def done() -> dict[str, Any]:
        try:
            with within(step):
                return {"value": found(*arguments)}
        except SpaError as error:
            return {"error": {"kind": type(error).__name__, "text": str(error)}}

    return done


def _limit(memory: int) -> None:
    """Never more bytes than that, where the system can say no."""
    with contextlib.suppress(ImportError, AttributeError, ValueError, OSError):
        import resource

        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        most = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
        # of what crashes nothing large is left
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


class _Telling(logging.Handler):
    """Hands records on to the parent."""

    def __init__(self, out: IO[str]) -> None:
        super().__init__(logging.DEBUG)
        self._out = out

    def emit(self, record: logging.LogRecord) -> None:
        part, noted = getattr(record, PART, None), getattr(record, NOTE, False)
        said = {"level": record.levelno, "text": self.format(record), "part": part, "noted": noted}
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps({"log": said}), file=self._out, flush=True)


def calling(bounds: Bounds | None) -> contextlib.AbstractContextManager[Isolated | None]:
    """A child to call, ``None`` where nothing is to be isolated."""
    return contextlib.nullcontext() if bounds is None else Isolated(bounds)
