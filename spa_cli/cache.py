"""Results by what they depend on: the same file, options and data give the same model, so it is made once."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from spa_cli.atomic import refusing, under_way
from spa_cli.calibration.digest import digest
from spa_cli.errors import UsageError
from spa_cli.files import all_in_place, place
from spa_cli.fingerprint import identity
from spa_cli.graph.save import place_model
from spa_cli.graph.source import Source
from spa_cli.progress import LOG
from spa_cli.request import Request
from spa_cli.staging import private

_ENTRY = "entry.json"
# what is said of a file that can't be written
_OUTPUT = ("output", "choose another name")


def key_of(source: Source, request: Request) -> str:
    """SHA-256 of the model's files, the options, the data and what computes."""
    # what did not pass a gate is not kept, and what is kept need not pass another
    parts = identity(source, request) | {"gates": vars(request.options.limits)}
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


class Cache:
    """A folder with one folder an entry. It can be deleted at any time; no file in it is used if it was changed.

    Raises UsageError if the folder can't be made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"the cache '{folder}' can't be made: {error.strerror or error}; name another") from error

    def fetch(self, key: str, places: Mapping[str, Path], force: bool = False) -> dict[str, Any] | None:
        """Put the files of an entry in their places and give its report; ``None`` if there is none with all of them.

        Raises UsageError where a file can't be written, or is there and not ``force``.
        """
        entry = self._folder / key
        try:
            found = json.loads((entry / _ENTRY).read_text(encoding="utf-8"))
            report: dict[str, Any] = found["report"]
            if not places.keys() <= found["files"].keys():
                return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        with ExitStack() as stack:
            copies: dict[str, Path] = {}
            for name, file in places.items():
                copies[name] = stack.enter_context(under_way(file, *_OUTPUT, room=None))
                if not _copied(entry / name, copies[name], file):
                    return None
                # another process may replace the entry meanwhile: what was copied counts
                if digest(copies[name]) != found["files"][name]:
                    LOG.warning("the cached result '%s' was changed; it is made anew", entry)
                    return None
            model, data = copies.pop("model"), copies.pop("data", None)
            steps = {places[name]: partial(place, copy, places[name], force) for name, copy in copies.items()}
            steps[places["model"]] = partial(place_model, model, data, places["model"], force)
            all_in_place(steps, force)
        return report

    def keep(self, key: str, files: Mapping[str, Path], report: dict[str, Any]) -> None:
        """Remember a result; warns where that fails, since the result itself is there."""
        entry = self._folder / key
        try:
            with private(self._folder, room=None) as own:
                made = own.path / key
                made.mkdir()
                for name, file in files.items():
                    shutil.copyfile(file, made / name)
                about = {"files": {name: digest(made / name) for name in files}, "report": report}
                (made / _ENTRY).write_text(json.dumps(about), encoding="utf-8")
                if entry.exists():
                    # what could not be used; nobody sees half of one
                    os.replace(entry, own.path / "old")
                os.replace(made, entry)
        except (OSError, UsageError) as error:
            # another run may have kept the same result meanwhile
            if not (entry / _ENTRY).exists():
                LOG.warning("this could not be cached in '%s': %s", self._folder, error)


def _copied(kept: Path, copy: Path, file: Path) -> bool:
    """Copy a file of an entry on its way to ``file``; whether it could be read. Raises UsageError for a full disk."""
    with refusing(file, *_OUTPUT):
        try:
            shutil.copyfile(kept, copy)
        except OSError:
            if os.access(kept, os.R_OK):
                raise
            return False
    return True
