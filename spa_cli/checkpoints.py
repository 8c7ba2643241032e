"""Work that a later run of the same command need not do again: what was measured, ranked and refitted so far.

Every step puts what came of it into a file of its own, whole or not at all. Whoever does a step asks first whether it
was done; where no folder was named, nothing ever was.
"""

from __future__ import annotations

import contextlib
import json
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spa_cli.errors import UsageError
from spa_cli.staging import claimed

Arrays = dict[str, NDArray[Any]]

_IDENTITY, _SUFFIX, _NEW = "work.json", ".npz", ".new"
# what a command depends on, as it is said
_PARTS = {"files": "model", "budget": "budget", "choices": "options or data", "program": "version of spa or libraries"}


class Checkpoints:
    """A folder with a file a step (``None``: nothing is kept)."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    @property
    def active(self) -> bool:
        """Whether anything is kept."""
        return self._folder is not None

    def get(self, step: str) -> Arrays | None:
        """What came of a step, ``None`` if it has to be done."""
        if self._folder is None:
            return None
        try:
            with (self._folder / f"{step}{_SUFFIX}").open("rb") as file, np.load(file, allow_pickle=False) as found:
                return {name: found[name] for name in found.files}
        except (OSError, EOFError, ValueError, zipfile.BadZipFile):
            return None

    def put(self, step: str, arrays: Mapping[str, Any]) -> None:
        """Keep what came of a step; raises UsageError where there is no room for it."""
        if self._folder is None:
            return
        new = self._folder / f"{step}{_NEW}"
        with _written_to(self._folder):
            with new.open("wb") as file:
                np.savez(file, **arrays)
            os.replace(new, self._folder / f"{step}{_SUFFIX}")

    def drop(self, step: str) -> None:
        """What came of a step is not needed any more."""
        if self._folder is not None:
            (self._folder / f"{step}{_SUFFIX}").unlink(missing_ok=True)


_NOTHING = Checkpoints()
_here: ContextVar[Checkpoints | None] = ContextVar("checkpoints", default=None)


def checkpoints() -> Checkpoints:
    """Those of the command at hand."""
    return _here.get() or _NOTHING


@contextlib.contextmanager
def working_in(folder: str | os.PathLike[str] | None, identity: Callable[[], Mapping[str, Any]]) -> Iterator[None]:
    """Keep what comes of steps in ``folder`` until the block ends well; go on with what an earlier run left there.

    ``identity``: what the work depends on, by part. Raises UsageError for a folder with the work of another command, or
    with anything else.
    """
    if folder is None:
        yield
        return
    folder = Path(folder)
    mine = json.loads(json.dumps(identity(), default=str))
    with _alone(folder):
        _begin(folder, mine)
        token = _here.set(Checkpoints(folder))
        try:
            yield
        finally:
            _here.reset(token)
        _clear(folder)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else works there meanwhile."""
    with contextlib.ExitStack() as stack:
        with _written_to(folder):
            folder.absolute().parent.mkdir(parents=True, exist_ok=True)
            try:
                stack.enter_context(claimed(folder.absolute().parent, [folder.name]))
            except FileExistsError as error:
                raise UsageError(f"another 'spa prune' works in '{folder}'; name another folder") from error
        yield


def _begin(folder: Path, mine: dict[str, Any]) -> None:
    with _written_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        said = folder / _IDENTITY
        if said.exists():
            try:
                before = json.loads(said.read_text(encoding="utf-8"))
            except ValueError:
                before = {}
            other = [words for part, words in _PARTS.items() if before.get(part) != mine.get(part)]
            if other:
                raise UsageError(
                    f"'{folder}' holds the work of another command (the {other[0]} was another); name another folder, "
                    "or delete this one"
                )
        elif any(folder.iterdir()):
            raise UsageError(f"'{folder}' holds other files than work to go on with; name an empty folder")
        new = folder / f"{_IDENTITY}{_NEW}"
        new.write_text(json.dumps(mine), encoding="utf-8")
        os.replace(new, said)


def _clear(folder: Path) -> None:
    """Nothing of it is of use to anybody."""
    with contextlib.suppress(OSError):
        for file in folder.iterdir():
            if file.suffix in (_SUFFIX, _NEW) or file.name == _IDENTITY:
                file.unlink()
        folder.rmdir()


@contextlib.contextmanager
def _written_to(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"the work can't be kept in '{folder}': {error.strerror or error}; free some space, or name another folder"
        ) from error
