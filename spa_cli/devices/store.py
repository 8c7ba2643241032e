"""Tables that were measured on this machine, kept so that the same model is cut to the same widths again."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import onnxruntime as ort

from spa_cli.analysis import Analysis
from spa_cli.atomic import put
from spa_cli.devices.table import CLASSES, Table
from spa_cli.errors import UsageError
from spa_cli.progress import LOG
from spa_cli.runtime.first_run import shapes_of
from spa_cli.runtime.providers import chosen
from spa_cli.runtime.session import Feeds
from spa_cli.runtime.timed import asked
from spa_cli.staging import private, user_cache
from spa_cli.threads import cores
from spa_cli.written import forget

# goes up when something else is measured, or in another way
_EDITION = 3


def folder() -> Path:
    """``$SPA_DEVICES``, or a place of this user's for what can be made again; raises OSError for one without a home."""
    named = os.environ.get("SPA_DEVICES")
    return Path(named) if named else user_cache() / "devices"


@cache
def machine() -> str:
    """Processor, cores and onnxruntime of this machine, in words."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    except OSError:
        # only Linux has it
        pass
    return f"{name}, {cores()} cores, onnxruntime {ort.__version__}"


def key_of(analysis: Analysis, feeds: Feeds) -> str:
    """What a table depends on: the machine, the providers, the graph with its shapes; not the weights' values."""
    graph = analysis.graph
    parts = [
        f"{_EDITION} {CLASSES}",
        machine(),
        *chosen(),
        *([f"{asked().threads} threads"] if asked().threads else []),
        json.dumps({n: list(s) for n, s in shapes_of(feeds).items()}, sort_keys=True),
    ]
    parts += [f"{name} {graph.shape(name)}" for name in sorted(graph.parameters)]
    digest = hashlib.sha256("\n".join(parts).encode())
    for node in analysis.source.model.graph.node:
        digest.update(node.SerializeToString(deterministic=True))
    return digest.hexdigest()


def fetch(key: str) -> Table | None:
    """What was measured before, ``None`` if nothing was or it can't be read."""
    try:
        return Table.of(json.loads((folder() / f"{key}.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def keep(key: str, table: Table) -> Table:
    """Keep a table, or give that of a process that was first. Never fails: it can be measured anew."""
    try:
        place = folder() / f"{key}.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        with private(place.parent) as beside:
            made = beside.path / place.name
            made.write_text(json.dumps(table.json()), encoding="utf-8")
            try:
                put(made, place, force=False)
            except FileExistsError:
                # whoever is first stays, unless it can't be read
                first = fetch(key)
                if first is not None:
                    return first
                put(made, place, force=True)
            # what can be made again is nothing that a failed command leaves behind
            forget(place)
    except OSError as error:
        LOG.info("what was measured of this machine was not kept: %s", error)
    return table


def kept() -> Iterator[tuple[Path, Table]]:
    """All tables that can be read, by file."""
    with suppress(OSError):
        for place in sorted(folder().glob("*.json")):
            table = fetch(place.stem)
            if table is not None:
                yield place, table


def clear() -> int:
    """Forget all; how many there were. Raises UsageError where a file can't be deleted."""
    found = 0
    try:
        place = folder()
        # the second are what earlier versions were stopped at
        for file in [*place.glob("*.json"), *place.glob("*.part")] if place.is_dir() else ():
            file.unlink(missing_ok=True)
            found += file.suffix == ".json"
    except OSError as error:
        where = error.filename or "the folder"
        raise UsageError(
            f"what was measured can't be forgotten: '{where}': {error.strerror or error}; change its permissions, or "
            "name another folder in $SPA_DEVICES"
        ) from error
    return found
