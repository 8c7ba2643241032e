"""How long models take, side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx
import onnxruntime as ort

from spa_cli.graph.states import narrowed
from spa_cli.runtime.providers import chosen
from spa_cli.runtime.session import Feeds, Openable, open_session
from spa_cli.runtime.turns import in_turns
from spa_cli.runtime.widened import Widened, as_is

_QUIET, _MOST = 0.1, 200


@dataclass(frozen=True)
class Timing:
    """Seconds per run of two models: medians, and the fastest tenth, which other work on the machine hardly touches."""

    before: float
    after: float
    quiet_before: float
    quiet_after: float

    @property
    def left(self) -> float:
        """Latency that is left, by the medians."""
        return self.after / self.before

    @property
    def quiet_left(self) -> float:
        """Latency that is left, by the fastest runs."""
        return self.quiet_after / self.quiet_before


def latency(
    before: Openable,
    after: Openable,
    feeds: Feeds,
    budget: float = 2.0,
    apart: bool = False,
    threads: int | None = None,
) -> Timing:
    """Two models timed in turns in one go, in fully optimised sessions, for ``budget`` seconds.

    ``apart``: one after the other, so that large models are not in memory together. ``threads``: how many compute.
    """

    def opened(model: Openable) -> ort.InferenceSession:
        # not what it takes to be run in the original's place
        return open_session(as_is(model), "all", large=apart, providers=chosen(), timed=True, threads=threads)

    own = [narrowed(feeds, m.states) if isinstance(m, Widened) else feeds for m in (before, after)]
    if apart:
        times = [_seconds([opened(m)], [f], budget / 2)[0] for m, f in zip((before, after), own, strict=True)]
    else:
        times = _seconds([opened(m) for m in (before, after)], own, budget)
    medians, quiet = np.median(times[0]), np.quantile(times[0], _QUIET)
    return Timing(float(medians), float(np.median(times[1])), float(quiet), float(np.quantile(times[1], _QUIET)))


def quiet_seconds(models: list[onnx.ModelProto], feeds: Feeds, budget: float) -> list[float]:
    """Seconds of the fastest tenth of the runs of each, in turns, for ``budget`` seconds together."""
    sessions = [open_session(m, "all", providers=chosen(), timed=True) for m in models]
    return [float(np.quantile(times, _QUIET)) for times in _seconds(sessions, [feeds] * len(sessions), budget)]


def _seconds(sessions: list[ort.InferenceSession], feeds: list[Feeds], budget: float) -> list[list[float]]:
    """Times of every session, in turns."""
    calls = [run_of(session, own) for session, own in zip(sessions, feeds, strict=True)]
    return [[run.seconds for run in runs if run.counts] for runs in in_turns(calls, budget, _MOST)]


def run_of(session: ort.InferenceSession, feeds: Feeds) -> Callable[[], object]:
    """A run on what the session takes of these."""
    takes = {i.name for i in session.get_inputs()}
    return partial(session.run, None, {name: value for name, value in feeds.items() if name in takes})
