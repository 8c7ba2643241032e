"""Where commands run, and what is in a folder afterwards, as far as two runs agree on it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx

# what another run measures anew
MEASURED = {"latency", "seconds", "pareto"}
UNFINISHED = ".spa-unfinished-*"

Found = dict[str, Any]


@dataclass
class Case:
    """A command, made of the folder ``out`` that it writes to; ``replaces``: an earlier output is there.

    ``goes_on``: it takes up what it finds, and is run again as it was. ``share``: of the moments (it takes longer).
    """

    name: str
    arguments: Callable[[Path], list[Any]]
    replaces: bool = False
    goes_on: bool = False
    share: float = 1.0
    new: Found = field(default_factory=dict)
    old: Found = field(default_factory=dict)
    seconds: float = 0.0
    steps: int = 0
    sizes: list[int] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)


class Place:
    """A folder of one case after the other: ``out``, its cache, and a temporary folder of its own."""

    def __init__(self, root: Path) -> None:
        self.root, self.work = root, root / "work"
        self.out, self.temporary = self.work / "out", self.work / "temporary"
        self.given = root / "given"
        self.before: Path = root / "before"

    def clear(self, case: Case, disk: int | None = None) -> None:
        """As it is before a run; ``disk``: on one of so many bytes (root only)."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        if disk is not None:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={disk}", "tmpfs", self.work], check=True)
        self.temporary.mkdir()
        if case.replaces:
            shutil.copytree(self.before / case.name, self.out)
        else:
            self.out.mkdir()

    def leftovers(self) -> list[str]:
        """Unfinished folders, wherever they may be."""
        return [str(p.relative_to(self.root)) for p in self.root.rglob(UNFINISHED)]


def contents(folder: Path) -> Found:
    """What is in a folder, by name, as far as two runs agree on it; half a file is unlike any."""
    return {str(p.relative_to(folder)): _content(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def _content(file: Path) -> Any:
    data = file.read_bytes()
    if file.suffix == ".onnx":
        return _model(file)
    if file.suffix == ".html":
        return data.startswith(b"<!DOCTYPE html>") and data.rstrip().endswith(b"</html>")
    if file.suffix == ".csv":
        return [row.split(",")[0] for row in data.decode().splitlines()]
    if file.suffix == ".json":
        try:
            return _unmeasured(json.loads(data))
        except ValueError:
            return "half"
    return data


def _model(file: Path) -> Any:
    """A model with the weights it refers to, whatever the file of those is called."""
    try:
        model = onnx.load(file, load_external_data=False)
        data = b""
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    data = (file.parent / entry.value).read_bytes()
                    entry.value = "data"
        return model.SerializeToString(deterministic=True) + data
    except Exception as error:  # noqa: BLE001 - whatever is said of half a file
        return f"half: {error}"


def _unmeasured(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _unmeasured(v) for k, v in value.items() if k not in MEASURED}
    return [_unmeasured(v) for v in value] if isinstance(value, list) else value
