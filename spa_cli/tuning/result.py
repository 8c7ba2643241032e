"""What came of training a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx

from spa_cli.graph.source import Source
from spa_cli.shown import Shown
from spa_cli.text import drift_text, one_line
from spa_cli.tuning.tune import Tuned
from spa_cli.verification.drift import Drift


@dataclass(frozen=True, eq=False, repr=False)
class TuneResult(Shown):
    """``model`` is the trained model (also written to ``out`` if given), the pruned one where nothing was better.

    ``drift``: how far outputs are from the original's on samples that nothing was trained on, before and after.
    """

    original: Source
    pruned: Source
    tuned: Tuned
    drift: tuple[Drift, Drift]
    warnings: list[str]
    out: Path | None
    model: onnx.ModelProto

    @property
    def line(self) -> str:
        """How far outputs are from the original's, before and after."""
        before, after = (drift_text(d.relative_l2) for d in self.drift)
        written = f", written to {self.out}" if self.out else ""
        return one_line(f"{self.pruned.name}: drift {before} -> {after}{written}")
