"""What only a page shows: latency by layer, drift against size, sensitivity; where it can't be measured, why."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from spa_cli.graph.model import Array
from spa_cli.graph.states import State, narrowed
from spa_cli.operators import contracting
from spa_cli.progress import stage
from spa_cli.report.page.layers import LayerCost
from spa_cli.report.page.theme import Number
from spa_cli.request import Request
from spa_cli.runtime.profile import Profile, profile
from spa_cli.runtime.said import said
from spa_cli.runtime.session import Feeds, Openable, floats, open_session, run
from spa_cli.sweeping.points import Sensitivity
from spa_cli.sweeping.sensitivity import drift_along, sensitivities, sliced_drift
from spa_cli.text import duration
from spa_cli.trial.choose import Choice, solver_of
from spa_cli.trial.prepare import Ranked
from spa_cli.verification.drift import drift

# seconds for sensitivity and the curve together; bytes above which a model is not cut again and again
SECONDS = 20.0
_LARGEST = 500_000_000
FRACTIONS = (0.9, 0.75, 0.6, 0.45, 0.3, 0.15)


@dataclass(frozen=True)
class Profiles:
    """Latency by layer of the original and, if there is one, of the pruned model; ``problem``: why there is none."""

    before: Profile | None
    after: Profile | None
    problem: str = ""

    def bars(self, layers: list[LayerCost]) -> list[tuple[str, float, float | None]]:
        """Per layer the seconds before and after."""
        if self.before is None:
            return []
        after = self.after.nodes if self.after else None
        times: list[tuple[str, float, float | None]] = []
        for name in (x.name for x in layers):
            times.append((name, self.before.nodes.get(name, 0.0), None if after is None else after.get(name, 0.0)))
        return [bar for bar in times if bar[1] or bar[2]]

    def rest(self, layers: list[LayerCost], ops: dict[str, str]) -> list[list[str | Number]]:
        """What is no layer's: by operator, and what onnxruntime put there itself. ``ops``: operators by label."""
        sides = [p for p in (self.before, self.after) if p is not None]
        own = {x.name for x in layers}
        found: dict[str, list[float]] = {}
        for at, side in enumerate(sides):
            for name, seconds in side.nodes.items():
                if name not in own:
                    found.setdefault(ops.get(name, "?"), [0.0] * len(sides))[at] += seconds
            for op, seconds in side.others.items():
                found.setdefault(f"{op} (onnxruntime's own, of no layer that can be told)", [0.0] * len(sides))[at] += (
                    seconds
                )
        ranked = sorted(found.items(), key=lambda item: (-max(item[1]), item[0]))
        return [[what, *(Number(s, duration(s)) for s in times)] for what, times in ranked]

    def share(self, layers: list[LayerCost]) -> float:
        """Fraction of the kernels' time in the original that layers take."""
        assert self.before is not None
        return sum(self.before.nodes.get(x.name, 0.0) for x in layers) / max(self.before.total, 1e-12)


def profiles(
    feeds: Feeds,
    before: tuple[onnx.ModelProto, str],
    after: tuple[onnx.ModelProto, str] | None,
    states: Sequence[State] = (),
) -> Profiles:
    """Profile both (model, folder of its external data); whatever onnxruntime objects to becomes a sentence.

    ``states``: those that lost channels.
    """
    stage("measuring latency by layer")
    try:
        both = [(before, feeds), (after, narrowed(feeds, states))] if after else [(before, feeds)]
        found = profile([model for model, _ in both], [given for _, given in both], contracting())
    except Exception as error:  # noqa: BLE001 - the page says so, the model is made
        why = said(error)
        return Profiles(None, None, f"Latency by layer could not be measured: {why}.")
    return Profiles(found[0], found[1] if after else None)


@dataclass(frozen=True)
class Sensitivities:
    """Sensitivities, drift against what is left, and the sentences about what is missing."""

    sensitivities: list[Sensitivity]
    curve: list[tuple[float, float]]
    problems: list[str]


def quality(ranked: Ranked, choice: Choice, request: Request) -> Sensitivities:
    """Measured on the verification samples, in about ``SECONDS``."""
    subject, end = ranked.subject, time.perf_counter() + SECONDS
    if subject.source.bytes > _LARGEST:
        text = (
            f"Sensitivity and the curve of drift were not measured: the model is larger than {_LARGEST / 1e6:.0f} MB."
        )
        return Sensitivities([], [], [text])
    if not floats(subject.reference):
        return Sensitivities(
            [], [], ["Sensitivity and drift can't be measured: no output is of floating-point numbers."]
        )

    def drift_of(model: Openable) -> float:
        return drift(subject.reference, run(open_session(model), subject.feeds)).relative_l2

    problems = []
    try:
        curve = drift_along(ranked, solver_of(ranked, request, choice.menu), FRACTIONS, drift_of, SECONDS / 2)
        if ranked.curvature is not None and (moved := sliced_drift(subject, choice.selection, drift_of)) is not None:
            # the same channels as in the model, but not repaired
            curve.append((subject.analysis.costs.left(choice.selection), moved))
        found = sensitivities(ranked, drift_of, max(end - time.perf_counter(), SECONDS / 4))
    except Exception as error:  # noqa: BLE001 - the page says so, the model is made
        why = said(error)
        return Sensitivities([], [], [f"Sensitivity and the curve of drift could not be measured: {why}."])
    wide = sum(g.channels > 1 for g in subject.analysis.grouping.groups)
    if len(found) < wide:
        problems.append(
            f"There was time for {len(found)} of {wide} groups, those of most MACs; spa sweep measures all of them."
        )
    return Sensitivities(found, curve, problems)


def differences(reference: list[Array], outputs: list[Array]) -> Array:
    """By how much every output value moved, relative to the standard deviation of its output."""
    found = [np.zeros(0)]
    for a, b in zip(floats(reference), floats(outputs), strict=True):
        if a.shape == b.shape and a.size and np.isfinite(a).all() and np.isfinite(b).all() and a.std() > 0:
            found.append((b - a).ravel() / a.std())
    return np.concatenate(found)
