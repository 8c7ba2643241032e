"""What a user can ask for: every option is declared once, in a dataclass, and checked there."""

from __future__ import annotations

from spa_cli.options.prune import BUDGETS, POINTS, READING, SAMPLES, Options
from spa_cli.options.sources import SampleSource
from spa_cli.options.words import Numbers, numbers

__all__ = ["BUDGETS", "POINTS", "READING", "SAMPLES", "Numbers", "Options", "SampleSource", "numbers"]
