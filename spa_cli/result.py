"""What pruning did."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx

from spa_cli.analysis import Analysis
from spa_cli.channels.groups import Group
from spa_cli.errors import SpaError
from spa_cli.graph.source import Source
from spa_cli.plan import Plan
from spa_cli.shown import Shown
from spa_cli.text import count, drift_text, one_line, plural, size
from spa_cli.tuning.tune import Tuned
from spa_cli.verification.accuracy import Accuracy
from spa_cli.verification.drift import Drift
from spa_cli.verification.speed import Setting


@dataclass(frozen=True)
class Figures:
    """One side of the before/after table; ``seconds`` is ``None`` where latency was not measured."""

    channels: int
    params: int
    macs: int
    bytes: int
    seconds: float | None


@dataclass(frozen=True, repr=False)
class Result(Shown):
    """``model`` is the small model (also written to ``out`` if given); ``cut_groups`` tells what each group keeps.

    ``accuracy``: where labels lie beside the samples, or ``evaluate`` decided.
    ``drift`` is that of ``samples`` samples, ``judged_on`` says of which; latency is that of one run
    on one sample, where the model leaves their number free. ``timings``: on other threads and with more samples, too;
    ``slower`` says why it is no faster than the original, "" where it is. ``tuned``: how it was trained, if it was.

    ``numbers``: of a model folder, by file and key, what was written anew: before and after.

    ``not_verified``: what was not, because it was not run; then there is no latency, and the drift is not a number.

    Where the original keeps its weights in files of their own, those of ``model`` lie beside ``out`` if there is one.
    """

    source: Source
    analysis: Analysis
    plan: Plan
    before: Figures
    after: Figures
    drift: Drift
    accuracy: Accuracy | None
    samples: int
    judged_on: str
    cut_groups: list[tuple[Group, int]]
    warnings: list[str]
    out: Path | None
    model: onnx.ModelProto
    timings: list[Setting]
    slower: str
    not_verified: list[str]
    tuned: Tuned | None = None
    numbers: dict[str, dict[str, tuple[int | None, int]]] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """Costs before and after, and how far outputs moved."""
        sides = zip((self.before.macs, self.before.params), (self.after.macs, self.after.params), strict=True)
        macs, params = (f"{count(a)} -> {count(b)}" for a, b in sides)
        bytes_left = f"{size(self.before.bytes)} -> {size(self.after.bytes)}"
        moved = "not run" if self.not_verified else f"drift {drift_text(self.drift.relative_l2)}"
        # nobody would notice otherwise, where nothing is printed but this
        ruined = "" if self.not_verified or self.drift.resembles else ", RUINED"
        written = f", written to {self.out}" if self.out else ""
        warned = f", {plural(len(self.warnings), 'warning')}" if self.warnings else ""
        return one_line(
            f"{self.source.name}: MACs {macs}, parameters {params}, {bytes_left}, {moved}{ruined}{written}{warned}"
        )

    @property
    def rf(self) -> float:
        """MACs before / after (the paper's RF)."""
        return self.before.macs / max(self.after.macs, 1)

    @property
    def rp(self) -> float:
        """Parameters before / after (the paper's RP)."""
        return self.before.params / max(self.after.params, 1)


@dataclass(frozen=True, repr=False)
class Outcome(Shown):
    """What became of one file: its ``spa.prune/1``, or why there is none."""

    input: str
    report: dict[str, Any] | None
    error: SpaError | None = None

    @property
    def line(self) -> str:
        """The file, and what is left of it, or what went wrong."""
        if self.report is None:
            return one_line(f"{self.input}: {self.error}")
        before, after = self.report["before"], self.report["after"]
        return one_line(f"{self.input}: MACs {count(before['macs'])} -> {count(after['macs'])}")

    def _repr_html_(self) -> None:
        """Many have a table, one has a line."""

    @property
    def exit_code(self) -> int:
        """As if it had been pruned alone."""
        return self.error.exit_code if self.error else 0
