"""Messages in the words of whom they are for: of the command line as they are written, or of Python."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields, is_dataclass, replace
from typing import Any, ParamSpec, TypeVar

from spa_cli.errors import OptionError, SpaError
from spa_cli.options.declare import declared
from spa_cli.options.limits import Limits
from spa_cli.options.prune import Options
from spa_cli.options.tune import Training
from spa_cli.progress import LOG, Bar, Progress, Wanted, bar, listened

COMMAND_LINE, PYTHON = "command line", "Python"
_whose: ContextVar[str] = ContextVar("whose", default="")

# flags that no dataclass declares, as functions take them
_OTHERS = {
    **dict.fromkeys(("points", "by", "picture", "samples", "html", "report", "cache", "junit", "teacher", "weights")),
    **dict.fromkeys(("engine", "plan", "time-limit", "memory-limit", "plan-out", "exported-with", "repaired")),
    "output": "out",
    **{name: f"{name}=True" for name in ("force", "isolate")},
    "no-isolate": "isolate=False",
}
# what Python has another means for
_PHRASES = {
    "[all of it with --debug]": "[all of it in __cause__]",
    "alone with --debug": "alone to see where",
    "more groups; --all lists them, --json has every member": "more groups; .grouping.groups has all",
    "more reasons; --all lists them": "more reasons; .grouping.frozen has all",
    "more outputs; --json has all": "more outputs; .drift.outputs has all",
    "more tensors; --json has every one": "more tensors; .shapes has all",
}
_COMMAND = re.compile(r"'spa (\w+)(?: --\w+)*'")
# fields of results, and keys of reports, that hold sentences, or what holds some
_SAYING = {"warnings", "slower", "accuracy", "by", "points", "refused", "gates", "text", "error", "report", "source"}

T = TypeVar("T")
P = ParamSpec("P")


def _words() -> dict[str, str]:
    found = {flag: name or flag.replace("-", "_") for flag, name in _OTHERS.items()}
    for of in (Training, Limits, Options):
        for one, about in declared(of):
            flags = [f.lstrip("-") for flag in about.flags for f in flag.split("/")] or [one.name.replace("_", "-")]
            boolean = one.type.startswith("bool")
            found |= dict.fromkeys(flags, f"{one.name}=True" if boolean else one.name)
            if boolean:
                found[f"no-{one.name.replace('_', '-')}"] = f"{one.name}=False"
    return found


WORDS = _words()
# not where it is a name, or a part of a path
_FLAG = re.compile(rf"(?<![\w/\\'-])--({'|'.join(sorted(WORDS, key=len, reverse=True))})(?![\w/\\-]|\.\w)")


def in_python(text: str) -> str:
    """A message with arguments for options and functions for commands."""
    for said, instead in _PHRASES.items():
        text = text.replace(said, instead)
    return _COMMAND.sub(r"spa_cli.\1()", _FLAG.sub(lambda found: WORDS[found[1]], text))


def reworded(found: T) -> T:
    """A result with all that it says in Python's words; an error is changed where it is."""
    return _reworded(found)  # type: ignore[no-any-return]


def _reworded(found: Any) -> Any:
    if isinstance(found, str):
        return in_python(found)
    if isinstance(found, SpaError):
        found.args = tuple(map(_reworded, found.args))
    elif isinstance(found, list | tuple):
        return type(found)(map(_reworded, found))
    elif isinstance(found, dict):
        return {name: _reworded(value) if name in _SAYING else value for name, value in found.items()}
    elif is_dataclass(found) and not isinstance(found, type):
        said = {one.name: getattr(found, one.name) for one in fields(found) if one.name in _SAYING}
        return replace(found, **{name: _reworded(value) for name, value in said.items()}) if said else found
    return found


def spoken(function: Callable[P, T]) -> Callable[P, T]:
    """A function of the Python API: its errors, warnings and results speak Python's words, unless a command calls it.

    Its argument ``progress`` is told what goes on, and at the end "done"; without one there is a bar in a notebook.
    """

    @functools.wraps(function)
    def called(*given: P.args, **named: P.kwargs) -> T:
        listener = _listener(named)
        with _for_python(listener) as python:
            found = function(*given, **named)
            if isinstance(found, Generator):
                return _one_by_one(found, listener)  # type: ignore[return-value]
            _done(listener)
            return reworded(found) if python else found

    return called


def _listener(named: Mapping[str, Any]) -> Progress | Bar | None:
    """Who is to be told; a command listens by itself."""
    wanted: Wanted = named.get("progress")
    if callable(wanted):
        return wanted
    if wanted not in (None, True, False):
        raise OptionError(
            f"progress has to be a function of the stage and the fraction that is done, True or False, not {wanted!r}"
        )
    return None if _whose.get() else bar(wanted)


def _one_by_one(results: Generator[T], listener: Progress | Bar | None) -> Iterator[T]:
    # what calls it may do other things between two results
    try:
        while True:
            with _for_python(listener) as python:
                found = next(results)
                found = reworded(found) if python else found
            yield found
    except StopIteration:
        _done(listener)
    finally:
        results.close()


def _done(listener: Progress | Bar | None) -> None:
    if callable(listener):
        listener("done", 1.0)


@contextmanager
def _for_python(listener: Progress | Bar | None) -> Iterator[bool]:
    with speaking(PYTHON) as python, listened(listener, in_python):
        yield python


@contextmanager
def speaking(to: str) -> Iterator[bool]:
    """Messages made inside are for these; whoever comes first decides. Gives whether they are for Python."""
    token = _whose.set(_whose.get() or to)
    try:
        yield _whose.get() == PYTHON
    except SpaError as error:
        if _whose.get() == PYTHON:
            reworded(error)
        raise
    finally:
        _whose.reset(token)


def _logged(record: logging.LogRecord) -> bool:
    if _whose.get() == PYTHON:
        record.msg, record.args = in_python(record.getMessage()), None
    return True


LOG.addFilter(_logged)
