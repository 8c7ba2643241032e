"""Results by what they depend on: the same file, options and data give the same model, so it is made once."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spa_cli.atomic import replacing
from spa_cli.calibration.digest import digest
from spa_cli.devices.profiles import HERE
from spa_cli.devices.store import machine
from spa_cli.errors import UsageError
from spa_cli.fingerprint import choices, contents, program
from spa_cli.graph.source import Source
from spa_cli.options import Options
from spa_cli.progress import LOG
from spa_cli.request import Request

_ENTRY = "entry.json"


def uncacheable(options: Options) -> str:
    """Why a result is made anew each time; "" if it need not be."""
    if options.target_latency is not None and options.device == HERE:
        return "--target-latency is measured each time"
    if options.evaluate is not None:
        return "what --eval says may change"
    if callable(options.calib) or callable(options.test) or ":" in f"{options.calib}{options.test}":
        return "what a function gives as samples may change"
    return ""


def key_of(source: Source, request: Request) -> str:
    """SHA-256 of the model's files, the options, the data and what computes."""
    parts: dict[str, Any] = {
        "files": contents(source),
        "budget": request.options.budgets,
        "choices": choices(request),
        # what did not pass a gate is not kept, and what is kept need not pass another
        "gates": vars(request.options.limits),
        "program": program(),
    }
    if request.options.round_to == "auto" and not request.elsewhere:
        # by which widths were chosen
        parts["machine"] = machine()
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

    def fetch(self, key: str, places: Mapping[str, Path]) -> dict[str, Any] | None:
        """Put the files of an entry in their places and give its report; ``None`` if there is none with all of them."""
        entry = self._folder / key
        try:
            found = json.loads((entry / _ENTRY).read_text(encoding="utf-8"))
            if not places.keys() <= found["files"].keys():
                return None
            if any(digest(entry / name) != found["files"][name] for name in places):
                LOG.warning("the cached result '%s' was changed; it is made anew", entry)
                return None
        except (OSError, ValueError, KeyError, TypeError, UsageError):
            return None
        for name, place in places.items():
            with replacing(place, "output", "choose another name") as copy:
                shutil.copyfile(entry / name, copy)
        report: dict[str, Any] = found["report"]
        return report

    def keep(self, key: str, files: Mapping[str, Path], report: dict[str, Any]) -> None:
        """Remember a result; warns where that fails, since the result itself is there."""
        staged: Path | None = None
        try:
            staged = Path(tempfile.mkdtemp(prefix=".spa-", dir=self._folder))
            for name, file in files.items():
                shutil.copyfile(file, staged / name)
            entry = {"files": {name: digest(staged / name) for name in files}, "report": report}
            (staged / _ENTRY).write_text(json.dumps(entry), encoding="utf-8")
            shutil.rmtree(self._folder / key, ignore_errors=True)
            os.replace(staged, self._folder / key)
        except (OSError, UsageError) as error:
            # another run may have kept the same result meanwhile
            if not (self._folder / key / _ENTRY).exists():
                LOG.warning("this could not be cached in '%s': %s", self._folder, error)
        finally:
            if staged is not None:
                shutil.rmtree(staged, ignore_errors=True)
