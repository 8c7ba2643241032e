"""Models that take turns: each runs for a stretch, of which what comes first does not count.

Where one session's threads have just run, or still spin, those of the next start on the same core, and stay there until
the operating system parts them: a SqueezeNet takes twice as long in its first 50 ms (measured on two cores, Linux 6.18)
as ever after. Whoever runs one model again and again sees the latter.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

# seconds until threads are where they stay, and that a stretch counts
_SETTLE, _STRETCH = 0.08, 0.08
# seconds of a run: what takes less is settled after a few runs; of what takes longer that time makes no difference
SHORT, _LONG, _FEW = 0.5e-3, 0.4, 10
# runs of each that count, at least
_FEWEST = 5
# as many times as long as was asked for, at most
_PATIENCE = 8


class Run(NamedTuple):
    """Seconds that a run took, and whether it counts."""

    seconds: float
    counts: bool


def in_turns(calls: Sequence[Callable[[], object]], seconds: float, most: int, short: float = SHORT) -> list[list[Run]]:
    """All runs of each, in order: for ``seconds`` in all, at least five that count, ``most`` at most or a few more.

    ``short``: seconds of a run that is settled after a few.
    """
    found = [[Run(_seconds(call), counts=False)] for call in calls]
    start = time.perf_counter()
    while True:
        for call, runs in zip(calls, found, strict=True):
            _stretch(call, runs, -(-most // 2), short)
        took = time.perf_counter() - start
        fewest = min((sum(run.counts for run in runs) for runs in found), default=most)
        if fewest >= most or (took > seconds and fewest >= _FEWEST) or took > _PATIENCE * seconds:
            return found


def _stretch(call: Callable[[], object], runs: list[Run], most: int, short: float) -> None:
    """Add the runs of one stretch."""
    shortest = min(run.seconds for run in runs)
    settle = _SETTLE if shortest > short else _FEW * shortest
    start, counted = time.perf_counter(), list[float]()
    while sum(counted) < _STRETCH and len(counted) < most:
        counts = shortest > _LONG or time.perf_counter() - start >= settle
        runs.append(Run(_seconds(call), counts))
        if counts:
            counted.append(runs[-1].seconds)


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
