"""What a result depends on, as JSON has it: the key of a sweep that goes on and of the cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spa_cli.calibration.digest import digest
from spa_cli.options import BUDGETS, Options

_DERIVED = {"sweeping", "recipe", "focused", "reading"}


def choices(options: Options) -> dict[str, Any]:
    """Everything but the budget; files by what is in them. Raises UsageError for one that can't be read."""
    found = {k: v for k, v in vars(options).items() if k not in {*BUDGETS, *_DERIVED}}
    for name in ("calib", "test", "tokenizer"):
        found[name] = found[name] and digest(found[name])
    scores = [p.argument for p in options.recipe.parts if p.argument]
    return {**found, "scores": [digest(Path(file)) for file in scores]}


def budget(options: Options) -> dict[str, float]:
    """The budget alone."""
    return {name: value for name in BUDGETS if (value := getattr(options, name)) is not None}
