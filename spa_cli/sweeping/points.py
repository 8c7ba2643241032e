"""The points of a sweep: what each budget leaves, kept on disk as they are made."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from spa_cli.atomic import write_text
from spa_cli.errors import UsageError
from spa_cli.staging import locked

STATE = "spa.sweep/1"


@dataclass(frozen=True)
class Point:
    """One budget, relative to the original where no unit is said.

    ``asked``: the budget; ``seconds``: latency before and after; ``accuracy``: by labels or by --eval. ``agreement``:
    see ``Drift``; ``perplexity``: a language model's own (``None`` on what the original would say), and relative to the
    original's; ``kept``: that of every output that has one. ``ruined``: the outputs are no longer the original's.
    ``dropped``: why its repair was taken back, "" if it was not. ``refused``: why there is no such model (its figures
    are then 0), "" if there is one. ``pareto``: no other is smaller and as good.
    """

    asked: float
    macs: float = 0.0
    params: float = 0.0
    bytes: float = 0.0
    latency: float = 0.0
    seconds: tuple[float, float] = (0.0, 0.0)
    drift: float = 0.0
    agreement: float | None = None
    accuracy: float | None = None
    perplexity: float | None = None
    perplexity_ratio: float | None = None
    kept: dict[str, float] = field(default_factory=dict)
    refused: str = ""
    pareto: bool = False
    ruined: bool = False
    dropped: str = ""

    @property
    def loss(self) -> float:
        """What is given up: accuracy where there is one, else how much more perplexed it is, else drift."""
        if self.accuracy is not None:
            return -self.accuracy
        return self.drift if self.perplexity_ratio is None else self.perplexity_ratio


@dataclass(frozen=True)
class Sensitivity:
    """What losing half of its channels, alone and not repaired, does to the outputs, and what it would save."""

    group: str
    channels: int
    drift: float | None
    macs: float
    params: float


def mark_pareto(points: list[Point]) -> list[Point]:
    """The same points, those marked that no other beats in MACs and in quality."""
    made = [p for p in points if not p.refused]

    def beaten(point: Point) -> bool:
        return any(
            p.macs <= point.macs and p.loss <= point.loss and (p.macs < point.macs or p.loss < point.loss) for p in made
        )

    return [Point(**{**asdict(p), "pareto": not p.refused and not beaten(p)}) for p in points]


class Progress:
    """What a sweep has found so far, in a file: a sweep that was interrupted goes on where it stopped.

    ``key``: everything that decides a point but its budget. Raises UsageError for a file of another sweep, unless
    ``force``, which starts afresh.
    """

    def __init__(self, file: Path, key: dict[str, Any], force: bool) -> None:
        self._file, self._key = file, key
        self.points: dict[float, Point] = {}
        self.sensitivity: list[Sensitivity] = []
        # whether the folder is this sweep's: what it kept there may be replaced
        self.resumed = file.exists() and not force
        self._seen = _state(file)
        if not self.resumed:
            return
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            if found["key"] != json.loads(json.dumps(key)):
                changed = sorted(k for k in key if found["key"].get(k) != json.loads(json.dumps(key[k])))
                raise UsageError(
                    f"'{file}' is a sweep of something else ({', '.join(changed)} differ); use --force to start "
                    "afresh, or another folder"
                )
            self.points = {p["asked"]: Point(**{**p, "seconds": tuple(p["seconds"])}) for p in found["points"]}
            self.sensitivity = [Sensitivity(**s) for s in found["sensitivity"]]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UsageError(f"'{file}' is no sweep; use --force to replace it") from error

    def add(self, point: Point) -> None:
        """One more point."""
        self.points[point.asked] = point
        self.write()

    def write(self) -> None:
        """Replace the file, atomically; raises UsageError if that fails, or if it is not what was written here last."""
        state = {
            "schema": STATE,
            "key": self._key,
            "points": [asdict(p) for p in self.points.values()],
            "sensitivity": [asdict(s) for s in self.sensitivity],
        }
        with locked(self._file.parent):
            if _state(self._file) != self._seen:
                raise UsageError(
                    f"another sweep is at work in '{self._file.parent}'; wait until it is done, or name another folder"
                )
            write_text(self._file, json.dumps(state, indent=1) + "\n")
            self._seen = _state(self._file)


def _state(file: Path) -> tuple[int, int] | None:
    """Which file it is: every one that is written is another."""
    try:
        about = file.stat()
    except OSError:
        return None
    return about.st_ino, about.st_mtime_ns
