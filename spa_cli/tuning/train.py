"""The training: steps towards the original, judged on samples that no step sees."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from spa_cli.options.tune import Training as Asked
from spa_cli.progress import LOG, PART
from spa_cli.tuning.batches import Batches, Feeds
from spa_cli.tuning.match import Match, Weights
from spa_cli.tuning.optimiser import Adam, warmed
from spa_cli.tuning.rate import RATES, TRIED, found_rate
from spa_cli.tuning.stored import as_stored
from spa_cli.tuning.whitened import White

# how often the training is judged, and the part of it after which it ends unless one was better than those before
_JUDGED, _PATIENCE = 12, 0.6
# of what every loss counts at the start, where it counts at all
_ALIKE = 0.5
# of the steps, those that the mean of the weights reaches back
_MEMORY = 0.03


@dataclass(frozen=True)
class Point:
    """After so many steps and seconds: ``loss`` on held-back samples, relative to that of the start."""

    step: int
    seconds: float
    loss: float


@dataclass(eq=False)
class Training:
    """What came of it. ``weights``: the best on held-back samples, ``None`` where nothing beat the start."""

    rate: float
    steps: int = 0
    seconds: float = 0.0
    weights: Weights | None = None
    curve: list[Point] = field(default_factory=list)
    interrupted: bool = False

    @property
    def best(self) -> float:
        """The least loss on held-back samples, relative to that of the start."""
        return min((p.loss for p in self.curve), default=1.0)


def train(
    match: Match,
    batches: Batches,
    judges: Sequence[Feeds],
    ways: tuple[str, ...],
    asked: Asked,
    seed: int,
    rate: float | None = None,
    focus: str = "",
    step_done: Callable[[Point], None] | None = None,
    white: White = White({}, {}),
    begun: float | None = None,
) -> Training:
    """Train ``match``'s pruned network; Ctrl-C ends it with the best so far. ``rate``: found by a test if not given.

    ``focus``: the output that counts more. ``step_done`` is told of every judgement. ``white``: what layers
    read. ``begun``: when (monotonic) time began to count, if before.
    """
    begun, rng = time.monotonic() if begun is None else begun, np.random.default_rng(seed)
    # the file's own may be read only
    weights = {name: value.copy() for name, value in match.gradients.start().items()}
    match.weigh(judges, weights, focus)
    start = match.held(judges, weights)
    if start < _ALIKE:
        # what it loses is less than counts: there is nothing to learn
        return Training(rate or 0.0, seconds=time.monotonic() - begun)
    steps = batches(ways, rng)
    clock = _Clock(asked, batches.steps, begun)
    used = rate
    if used is None:
        began = time.monotonic()
        match.slope(next(steps), weights)
        expected = clock.expected(time.monotonic() - began)
        # a test that takes all the time there is would leave nothing to train in
        short = asked.epochs is None and expected < TRIED * len(RATES)
        used = RATES[-1] if short else found_rate(match, weights, steps, judges, expected, white)
    done = Training(used)
    adam, mean = Adam(weights, white), _Mean(weights)
    done.curve.append(Point(0, clock.seconds, 1.0))
    judged = improved = 0.0
    try:
        while (part := clock.part(done.steps)) < 1 and part - improved <= _PATIENCE:
            LOG.debug("step %d", done.steps + 1, extra={PART: part})
            _, gradients = match.slope(next(steps), weights)
            adam.step(weights, gradients, used * warmed(part))
            done.steps += 1
            part = clock.part(done.steps)
            mean.add(weights, part, done.steps)
            if part - judged < 1 / _JUDGED and part < 1:
                continue
            kept = as_stored(match.gradients.graph, mean.weights)
            point = Point(done.steps, clock.seconds, match.held(judges, kept) / start)
            if point.loss < done.best:
                done.weights = kept
            # first steps leave the valley of a closed-form fit: who is on the way back is not stopped
            if point.loss < min((p.loss for p in done.curve[1:]), default=math.inf):
                improved = part
            judged = part
            done.curve.append(point)
            if step_done is not None:
                step_done(point)
    except KeyboardInterrupt:
        done.interrupted = True
    done.seconds = clock.seconds
    return done


class _Clock:
    """How much of the training is done: of its passes over the samples, or of its time."""

    def __init__(self, asked: Asked, steps: int, begun: float) -> None:
        self._asked, self._steps, self._begun = asked, steps, begun

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begun

    def expected(self, each: float) -> float:
        """How many steps there will be, if one takes so many seconds."""
        if self._asked.epochs is not None:
            return self._asked.epochs * self._steps
        assert self._asked.seconds is not None
        return self._asked.seconds / max(each, 1e-9)

    def part(self, steps: int) -> float:
        """Between 0 and 1."""
        if self._asked.epochs is not None:
            return min(1.0, steps / (self._asked.epochs * self._steps))
        assert self._asked.seconds is not None
        return min(1.0, self.seconds / self._asked.seconds)


class _Mean:
    """The mean of weights, of which the latest count most (Polyak 1992): ``_MEMORY`` of all steps back."""

    def __init__(self, weights: Weights) -> None:
        self.weights = {name: value.copy() for name, value in weights.items()}

    def add(self, weights: Weights, part: float, steps: int) -> None:
        """After so many steps, which are that part of all."""
        reach = 1 + _MEMORY * steps / max(part, 1e-3)
        for name, value in weights.items():
            self.weights[name] += (value - self.weights[name]) / reach
