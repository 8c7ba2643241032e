"""Where modules were before: they still import, with a DeprecationWarning."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "attempt": "trial.trials",
    "cutting": "trial.choose",
    "prepare": "trial.prepare",
    "search": "trial.search",
    "quality": "verification.quality",
    "judging": "calibration.judging",
    "budget.targets": "trial.target",
    "calibration.extras": "extras",
    "calibration.spread": "calibration.samples",
    "cli.shapes": "options.shapes",
    "channels.analyse": "operators.analyse",
    "channels.relate": "operators.relate",
    "channels.rules": "operators",
    "graph.load": "runtime.load",
    "graph.observe": "runtime.observe",
    "graph.shuffle": "operators.shuffle",
    "importance.focus": "calibration.focus",
    "importance.given": "importance.user_scores",
    "importance.ranking": "channels.ranking",
    "importance.slices": "channels.slices",
    "importance.tables": "graph.formulas",
    "obspa.alignment": "obspa.regression",
    "obspa.contraction": "operators.contraction",
    "obspa.data": "calibration.chunks",
    "obspa.leaves": "calibration.dead_leaves",
    "obspa.readings": "obspa.consumers",
    "obspa.side": "runtime.interpreter",
    "obspa.stored": "obspa.parameter_path",
    "obspa.surroundings": "obspa.epilogue",
    "obspa.synthetic": "calibration.synthetic",
    "obspa.targets": "obspa.regression",
    "obspa.user_data": "calibration.split",
    "report.text": "text",
    "surgery.apply": "operators.rewrite",
    "verification.feeds": "runtime.first_run",
    "verification.inputs": "runtime.inputs",
    "verification.profile": "runtime.profile",
    "verification.providers": "runtime.providers",
    "verification.session": "runtime.session",
    "weights.doubts": "weights.warnings",
    "weights.grid": "weights.shrink",
}


class _Moved(MetaPathFinder, Loader):
    """Finds a module under its former name."""

    def __init__(self) -> None:
        self._specs: dict[str, ModuleSpec | None] = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A spec for what was moved, ``None`` for all else."""
        return ModuleSpec(name, self) if _now(name) else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module where it is now."""
        now = _now(spec.name)
        warnings.warn(f"{spec.name} is {now} now; import it from there", DeprecationWarning, stacklevel=2)
        found = importlib.import_module(now)
        # the import system is about to overwrite it
        self._specs[now] = found.__spec__
        return found

    def exec_module(self, module: ModuleType) -> None:
        """It was run where it is; its own spec is put back."""
        module.__spec__ = self._specs[module.__name__]


def _now(name: str) -> str:
    package, _, inside = name.partition(".")
    if package != "spa_cli":
        return ""
    family = inside.removeprefix("channels.rules.")
    now = MOVED.get(inside) or (f"operators.{family}" if family != inside else "")
    return now and f"{package}.{now}"


def install() -> None:
    """Make the former names importable."""
    if not any(isinstance(finder, _Moved) for finder in sys.meta_path):
        # before the folders: one that is left from before, empty, would be a package
        sys.meta_path.insert(0, _Moved())
