"""What came of training a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx

from spa_cli.graph.source import Source
from spa_cli.tuning.tune import Tuned
from spa_cli.verification.drift import Drift


@dataclass(frozen=True, eq=False)
class TuneResult:
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
