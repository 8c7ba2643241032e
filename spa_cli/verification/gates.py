"""What a pruned model has to keep to pass: one gate each, with what was found."""

from __future__ import annotations

import math
from dataclasses import dataclass

from spa_cli.options.limits import Limits as Limits
from spa_cli.options.limits import bytes_of
from spa_cli.runtime.timing import Timing
from spa_cli.text import drift_text, size
from spa_cli.verification.drift import Drift


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


def check(limits: Limits, drift: Drift, sizes: tuple[int, int], timing: Timing | None) -> tuple[Gate, ...]:
    """Every gate that was asked for; ``sizes``: bytes before and after. ``timing``: for that of latency."""
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
    if limits.max_latency_ratio is not None and timing is not None:
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
