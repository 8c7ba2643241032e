"""What a user can ask of ``prune``, checked once."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from spa_cli.errors import UsageError

Numbers: TypeAlias = str | float | Sequence[float]
SampleSource: TypeAlias = Path | Callable[[], Any]
# what may be given several times
_LISTS = ("role_weight", "focus", "ignore", "only")
BUDGETS = ("ratio", "target_macs", "target_params", "target_size", "target_latency", "max_drift", "min_accuracy")


@dataclass(frozen=True)
class Options:
    """Names as on the command line; raises UsageError where they are out of range or contradict each other.

    ``role_weight``, ``focus``, ``ignore`` and ``only`` are several, or one alone as a string.
    """

    ratio: float | None = None
    target_macs: float | None = None
    target_params: float | None = None
    target_size: int | None = None
    target_latency: float | None = None
    max_drift: float | None = None
    min_accuracy: float | None = None
    test: str | SampleSource | None = None
    evaluate: str | None = None
    method: str = "obspa"
    aggregation: str | None = None
    normalisation: str | None = None
    ensemble: str = "rank"
    role_weight: tuple[str, ...] = ()
    focus: tuple[str, ...] = ()
    repair: bool | None = None
    sweeping: bool = False
    calib: str | SampleSource | None = None
    calib_samples: int = 512
    mean: Numbers = 0.0
    std: Numbers = 1.0
    layout: str = "auto"
    color: str = "rgb"
    image_range: int = 1
    tokenizer: str | os.PathLike[str] | None = None
    max_length: int | None = None
    provider: str | tuple[str, ...] = "cpu"
    seed: int = 0
    ignore: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    round_to: int | str = "auto"
    min_channels: int = 1
    max_group_ratio: float = 1.0
    exact_only: bool = False
    input_shape: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("calib", "test", "tokenizer"):
            given = getattr(self, name)
            if isinstance(given, str | os.PathLike):
                object.__setattr__(self, name, Path(given))
        for name in ("mean", "std"):
            object.__setattr__(self, name, numbers(f"--{name}", getattr(self, name)))
        for name in _LISTS:
            given = getattr(self, name)
            object.__setattr__(self, name, (given,) if isinstance(given, str) else tuple(given or ()))
        self._check_budget()
        if not 0 < self.max_group_ratio <= 1:
            raise UsageError(f"--max-group-ratio has to lie between 0 and 1, not {self.max_group_ratio:g}")
        if isinstance(self.round_to, str) and self.round_to != "auto":
            raise UsageError(f"--round-to has to be a number or auto, not {self.round_to}")
        for name in ("round_to", "min_channels", "calib_samples"):
            if getattr(self, name) != "auto" and getattr(self, name) < 1:
                flag = "--" + name.replace("_", "-")
                raise UsageError(f"{flag} has to be at least 1, not {getattr(self, name)}")
        if self.evaluate is not None and "{model}" not in self.evaluate:
            raise UsageError("--eval names no {model}, the file to evaluate; write --eval 'python eval.py {model}'")
        if self.evaluate is not None and self.max_drift is not None:
            raise UsageError("--eval says nothing to --max-drift, which compares outputs; use --min-accuracy")
        both = set(self.ignore) & set(self.only)
        if both:
            raise UsageError(f"'{sorted(both)[0]}' is in both --ignore and --only; take it out of one")

    @property
    def measures_quality(self) -> bool:
        """Whether the budget is how good the result is."""
        return self.max_drift is not None or self.min_accuracy is not None

    @property
    def holds_back(self) -> bool:
        """Whether a part of the calibration data is kept from everything that is fitted, to be measured on."""
        return self.calib is not None and self.test is None and (self.measures_quality or self.sweeping)

    def _check_budget(self) -> None:
        budgets = {f"--{name.replace('_', '-')}": getattr(self, name) for name in BUDGETS}
        given = {k: v for k, v in budgets.items() if v is not None}
        if len(given) != 1:
            together = f", not {' and '.join(given)} together" if given else ""
            raise UsageError(f"give one of {', '.join(budgets)}{together}")
        ((name, value),) = given.items()
        if name == "--target-size":
            if value <= 0:
                raise UsageError(f"--target-size has to be a positive number of bytes, not {value}")
        elif name in ("--max-drift", "--min-accuracy"):
            if not 0 < value < float("inf"):
                raise UsageError(f"{name} has to be a positive number, not {value:g}")
        elif not 0 < value < 1:
            raise UsageError(f"{name} has to lie between 0 and 1 (both excluded; 0.5 is half), not {value:g}")

    def with_budget(self, name: str, value: float) -> Options:
        """The same with one budget instead of its own."""
        return replace(self, **{**dict.fromkeys(BUDGETS, None), name: value})  # type: ignore[arg-type]


def numbers(flag: str, given: Numbers) -> tuple[float, ...]:
    """The numbers in "0.1,0.2", in a sequence, or a single one; raises UsageError where that is none of these."""
    parts = (
        given.strip("[] ").split(",")
        if isinstance(given, str)
        else [given]
        if isinstance(given, int | float)
        else given
    )
    try:
        found = tuple(float(part) for part in parts)
    except (TypeError, ValueError):
        found = ()
    if not found or not all(map(math.isfinite, found)):
        raise UsageError(f"{flag} '{given}' is no number; write one, or one a channel like 0.485,0.456,0.406")
    return found
