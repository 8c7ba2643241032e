"""What a pruned model has to keep to pass: one gate each, with what was found."""

from __future__ import annotations

import math
from dataclasses import dataclass

from spa_cli.errors import UsageError
from spa_cli.runtime.timing import Timing
from spa_cli.text import drift_text, size
from spa_cli.verification.drift import Drift

_UNITS = {"": 1, "b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


@dataclass(frozen=True)
class Gate:
    """One gate: its option, what was found and what is allowed, in the option's unit (``found``: ``None`` if it can't
    be measured).
    """

    name: str
    passed: bool
    found: float | None
    limit: float
    text: str


@dataclass(frozen=True)
class Limits:
    """Gates by option; ``max_size``: bytes, or a fraction of the original ("60%"). Raises UsageError out of range."""

    max_drift: float | None = None
    min_agreement: float | None = None
    max_size: str | int | None = None
    max_latency_ratio: float | None = None

    def __post_init__(self) -> None:
        if self.min_agreement is not None and not 0 <= self.min_agreement <= 1:
            raise UsageError(f"--min-agreement has to lie between 0 and 1, not {self.min_agreement:g}")
        if self.max_drift is not None and not self.max_drift >= 0:
            raise UsageError(f"--max-drift has to be at least 0, not {self.max_drift:g}")
        if self.max_latency_ratio is not None and not 0 < self.max_latency_ratio < math.inf:
            raise UsageError(f"--max-latency-ratio has to be a positive number, not {self.max_latency_ratio:g}")
        if self.max_size is not None:
            bytes_of(self.max_size, 1)


def check(limits: Limits, drift: Drift, sizes: tuple[int, int], timing: Timing) -> tuple[Gate, ...]:
    """Every gate that was asked for; ``sizes``: bytes before and after."""
    gates = []
    if limits.max_drift is not None:
        moved = drift.relative_l2
        gates.append(_most("max-drift", moved, limits.max_drift, f"output drift {drift_text(moved)}"))
    if limits.min_agreement is not None:
        agreed, least = drift.agreement, limits.min_agreement
        said = "arg-max agreement can't be measured" if agreed is None else f"arg-max agreement {agreed:.3g}"
        passed = agreed is not None and agreed >= least
        relation = "at least" if passed else "not at least"
        gates.append(Gate("min-agreement", passed, agreed, least, f"{said}, {relation} --min-agreement {least:g}"))
    if limits.max_size is not None:
        most = bytes_of(limits.max_size, sizes[0])
        gates.append(_most("max-size", sizes[1], most, f"file size {size(sizes[1])}", size(most)))
    if limits.max_latency_ratio is not None:
        # other work on the machine hardly touches the fastest tenth of the runs
        left = timing.quiet_left
        said = f"latency {left:.3g} of the original's (fastest tenth of the runs; {timing.left:.3g} by the median)"
        gates.append(_most("max-latency-ratio", left, limits.max_latency_ratio, said))
    return tuple(gates)


def _most(name: str, found: float, limit: float, said: str, shown: str = "") -> Gate:
    passed = bool(found <= limit)
    relation = "within" if passed else "not within"
    finite = None if math.isnan(found) else float(found)
    return Gate(name, passed, finite, float(limit), f"{said}, {relation} --{name} {shown or f'{limit:g}'}")


def bytes_of(text: str | int, original: int) -> int:
    """``500000``, ``500kB``, ``1.5MiB``, or ``60%`` of the original, as bytes; raises UsageError."""
    given = str(text).strip()
    number = given.rstrip("%abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
    unit = given[len(number) :].strip().lower()
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf or unit not in {*_UNITS, "%"}:
        raise UsageError(f"'{text}' is no file size; write bytes, a size like 500kB or 1.5MB, or a part like 60%")
    return int(value / 100 * original if unit == "%" else value * _UNITS[unit])
