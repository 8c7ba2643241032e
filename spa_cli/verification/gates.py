"""What a pruned model has to keep to pass: one gate each, with what was found."""

from __future__ import annotations

import math
from dataclasses import dataclass

from spa_cli.measures.kinds import WORDS
from spa_cli.options.limits import Limits as Limits
from spa_cli.options.limits import bytes_of
from spa_cli.runtime.timing import Timing
from spa_cli.text import drift_text, size
from spa_cli.verification.accuracy import Accuracy
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


def check(
    limits: Limits, drift: Drift, sizes: tuple[int, int], timing: Timing | None, accuracy: Accuracy | None = None
) -> tuple[Gate, ...]:
    """Every gate that was asked for; ``sizes``: bytes before and after. ``timing``: for that of latency."""
    gates = []
    if limits.max_drift is not None:
        moved = drift.relative_l2
        gates.append(_most("max-drift", moved, limits.max_drift, f"output drift {drift_text(moved)}"))
    if limits.min_agreement is not None:
        gates.append(_least("min-agreement", drift.agreement, limits.min_agreement, agreement_of(drift)))
    if limits.max_perplexity_ratio is not None:
        found = drift.perplexity
        ratio, by = (math.nan, "") if found is None else (found.ratio.value, f" on {found.by}")
        said = f"perplexity {ratio:.4g} times the original's{by}"
        gates.append(_most("max-perplexity-ratio", ratio, limits.max_perplexity_ratio, said))
    if limits.min_accuracy is not None:
        reached = None if accuracy is None else accuracy.after.value
        said = "accuracy" if accuracy is None else f"accuracy by {accuracy.by}"
        gates.append(_least("min-accuracy", reached, limits.min_accuracy, said))
    if limits.max_size is not None:
        most = bytes_of(limits.max_size, sizes[0])
        gates.append(_most("max-size", sizes[1], most, f"file size {size(sizes[1])}", size(most)))
    if limits.max_latency_ratio is not None and timing is not None:
        # other work on the machine hardly touches the fastest tenth of the runs
        left = timing.quiet_left
        said = f"latency {left:.3g} of the original's (fastest tenth of the runs; {timing.left:.3g} by the median)"
        gates.append(_most("max-latency-ratio", left, limits.max_latency_ratio, said))
    return tuple(gates)


def agreement_of(drift: Drift) -> str:
    """What the agreement is of: the output that keeps least, in its measure."""
    known = [one for one in drift.outputs if one.agreement is not None and one.agreement.value == drift.agreement]
    if drift.agreement is None:
        return "agreement (of numbers that mean themselves --max-drift is the gate)" if drift.outputs else "agreement"
    if not known:
        return "arg-max agreement"
    what = WORDS[known[0].kind]
    return what if len(drift.outputs) == 1 else f"{what} of '{', '.join(known[0].outputs)}'"


def _least(name: str, found: float | None, least: float, said: str) -> Gate:
    if found is None or math.isnan(found):
        return Gate(name, False, None, least, f"{said} can't be measured, not at least --{name} {least:g}")
    passed = found >= least
    relation = "at least" if passed else "not at least"
    return Gate(name, passed, found, least, f"{said} {found:.3g}, {relation} --{name} {least:g}")


def _most(name: str, found: float, limit: float, said: str, shown: str = "") -> Gate:
    passed = bool(found <= limit)
    relation = "within" if passed else "not within"
    finite = None if math.isnan(found) else float(found)
    return Gate(name, passed, finite, float(limit), f"{said}, {relation} --{name} {shown or f'{limit:g}'}")
