"""A function of the user's that gives samples: found, called, its failures told."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import itertools
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from spa_cli.calibration.batches import gather
from spa_cli.calibration.samples import Samples, SampleSource
from spa_cli.errors import SpaError, UsageError, first_line
from spa_cli.graph.model import Graph
from spa_cli.options.sources import InMemory


def read_function(source: SampleSource, graph: Graph, limit: int | None) -> Samples:
    """What the function gives, called without arguments; of batches or samples no more than ``limit`` are taken.

    Raises UsageError if it can't be found or called, fails, or gives what is no samples (``batches.gather``).
    """
    name = called(source)
    with _at_home(source):
        function = source if callable(source) else find(str(source))
        with _told(name, file_of(function)):
            return gather(function(), graph, name, limit)


def read_given(source: InMemory, graph: Graph, limit: int | None) -> Samples:
    """Samples that a program has; raises UsageError where they are none, or fail to be given."""
    with _told(str(source), None):
        return gather(_from_its_first(source) if source.once else source.value, graph, str(source), limit)


def _from_its_first(source: InMemory) -> Iterator[Any]:
    for first in source.value:
        return itertools.chain([first], source.value)
    raise UsageError(
        f"nothing is left of the {source}, which gives its samples once, and perhaps gave them before; make it anew, "
        "or give a list"
    )


def called(source: SampleSource | Callable[..., Any]) -> str:
    """What to call it in a message."""
    if not callable(source):
        return str(source)
    kind = source if hasattr(source, "__qualname__") else type(source)
    return f"{kind.__module__}:{kind.__qualname__}"


def find(text: str) -> Callable[[], Any]:
    """``module:function`` (the current directory is looked at first) or ``file.py:function``."""
    place, _, name = text.rpartition(":")
    is_file = place.endswith(".py")
    with _at_home(Path(text)), _told(text, None):
        module = _from_file(Path(place)) if is_file else importlib.import_module(place)
    function = getattr(module, name, None)
    if function is None:
        raise UsageError(f"'{place}' has no function '{name}'; add one that gives samples, or mend the name")
    if not callable(function):
        raise UsageError(f"'{text}' is no function but of type {type(function).__name__}; name one that gives samples")
    return function  # type: ignore[no-any-return]


def file_of(function: Callable[..., Any]) -> str | None:
    """The file of its module, if it has one."""
    with contextlib.suppress(TypeError):
        return inspect.getsourcefile(function if hasattr(function, "__qualname__") else type(function))
    return None


def _from_file(path: Path) -> Any:
    if not path.is_file():
        raise UsageError(f"there is no file '{path}'; name one that exists before the colon")
    spec = importlib.util.spec_from_file_location(f"_spa_calibration_{path.stem}", path)
    # for a name that ends in .py there is a loader
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # dataclasses and pickle look a class's module up
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _at_home(source: SampleSource) -> Iterator[None]:
    """Its folder and the current one come first where it imports; what it prints goes to stderr, stdout is a result."""
    text = "" if callable(source) else str(source).rpartition(":")[0]
    added = [os.path.dirname(os.path.abspath(text))] if text.endswith(".py") else []
    added.append(os.getcwd())
    sys.path[:0] = added
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        for folder in added:
            with contextlib.suppress(ValueError):
                sys.path.remove(folder)


@contextlib.contextmanager
def _told(name: str, file: str | None) -> Iterator[None]:
    """Whatever the user's code raises, as one sentence."""
    try:
        yield
    except SpaError:
        raise
    except (Exception, SystemExit) as error:
        module = name.rpartition(":")[0]
        if isinstance(error, ModuleNotFoundError) and error.name and f"{module}.".startswith(f"{error.name}."):
            raise UsageError(
                f"there is no calibration file '{name}', and no module '{error.name}' in '{os.getcwd()}' or installed; "
                "mend the name"
            ) from error
        here = os.path.dirname(__file__)
        frames = [f for f in traceback.extract_tb(error.__traceback__) if os.path.dirname(f.filename) != here]
        own = [f for f in frames if f.filename == file] or [f for f in frames if "importlib" not in f.filename]
        where = f" at {os.path.basename(own[-1].filename)}:{own[-1].lineno}" if own else ""
        said = first_line(str(error))
        raise UsageError(
            f"'{name}' failed with {type(error).__name__}: {said}{where}; mend it and run again"
        ) from error
