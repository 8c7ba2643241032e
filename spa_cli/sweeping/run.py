"""``spa sweep``: one preparation, many budgets, a record of each."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from spa_cli.engines import HERE, Asked
from spa_cli.errors import ModelError, OptionError, UnreachableError, UsageError
from spa_cli.fingerprint import choices, contents, program
from spa_cli.graph.save import check_writable
from spa_cli.graph.source import Source
from spa_cli.memory import allowing
from spa_cli.options import POINTS, Options
from spa_cli.request import Request
from spa_cli.runtime.load import Model, load
from spa_cli.runtime.providers import running_on
from spa_cli.runtime.timed import timed_as
from spa_cli.shown import Shown
from spa_cli.sweeping.budgets import Budget, spread, tried
from spa_cli.sweeping.points import Point, Progress, Sensitivity, mark_pareto
from spa_cli.sweeping.sensitivity import sensitivities
from spa_cli.text import drift_text, one_line, plural
from spa_cli.trial.choose import check_reach
from spa_cli.trial.prepare import analyse, score
from spa_cli.trial.target import unmeasured
from spa_cli.verification.quality import Measured, Quality
from spa_cli.verification.subject import Subject

COINS = ("ratio", "target_macs", "target_params", "target_latency")


@dataclass(frozen=True, eq=False, repr=False)
class Sweep(Shown):
    """All points, largest model first, and the groups, most sensitive first; ``about``: what they were measured on."""

    model: str
    coin: str
    points: list[Point]
    sensitivity: list[Sensitivity]
    original: Measured
    about: str
    warnings: list[str]

    @property
    def line(self) -> str:
        """How many budgets, and the drift at the ends."""
        met = [p for p in self.points if p.drift is not None]
        ends = [f"{p.asked:g} ({drift_text(p.drift)})" for p in (met[:1] + met[1:][-1:]) if p.drift is not None]
        coin = self.coin.removeprefix("target_")
        return one_line(
            f"{self.model}: {len(met)} of {plural(len(self.points), 'budget')} in {coin}, drift at {' to '.join(ends)}"
        )


def sweep(
    model: Model,
    folder: Path,
    options: Options,
    coin: str = "target_macs",
    budgets: tuple[float, ...] = POINTS,
    *,
    keep_models: bool = False,
    force: bool = False,
    engine: str = HERE,
) -> Sweep:
    """Try every budget and record what it leaves in ``folder``/sweep.json; go on there if it was interrupted.

    ``options`` say everything but the budget; ``engine``: where budgets are tried. Raises the errors of
    ``spa_cli.errors``; a budget that can't be reached is a point that says so.
    """
    if coin not in COINS:
        names = ", ".join(c.removeprefix("target_") for c in COINS)
        raise OptionError(f"--by {coin.removeprefix('target_')} can't be swept; use one of {names}")
    wanted = sorted(set(budgets), reverse=coin != "ratio")
    request = Request.of(replace(options.with_budget(coin, wanted[0]), sweeping=True))
    for value in wanted[1:]:
        options.with_budget(coin, value)
    asked = Asked.of(engine)
    if asked.spread and coin == "target_latency" and not request.elsewhere:
        raise OptionError(
            f"--by latency can't be used with --engine {engine}: what is timed while others work says nothing; leave "
            "one out, or give --device"
        )
    with running_on(options.provider), timed_as(options.batch, options.threads), allowing(options.memory_size):
        return _sweep(load(model), folder, request, coin, wanted, keep_models, force, asked)


def budgets_in(points: str | Sequence[float]) -> tuple[float, ...]:
    """Budgets as they are, or out of "0.9,0.5"; raises UsageError for other words."""
    try:
        found = tuple(float(p) for p in (points.split(",") if isinstance(points, str) else points))
    except (TypeError, ValueError):
        found = ()
    if not found:
        raise OptionError(
            f"--points '{points}' is not a list of numbers like 0.9,0.5,0.2; write them with commas between"
        )
    return found


def _sweep(
    source: Source,
    folder: Path,
    request: Request,
    coin: str,
    wanted: list[float],
    keep_models: bool,
    force: bool,
    asked: Asked,
) -> Sweep:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"the folder '{folder}' can't be made: {error.strerror or error}; name another") from error
    key = {"program": program(), "model": contents(source), "by": coin, **choices(request)}
    progress = Progress(folder / "sweep.json", key, force)
    force = force or progress.resumed
    for value in wanted:
        kept = _kept(folder, coin, value)
        if keep_models and value not in progress.points:
            check_writable(kept, source, force)
    subject = analyse(source, request)
    _check_reach(subject, request, coin, wanted)
    todo = list[Budget]()
    for number, value in enumerate(wanted):
        kept = _kept(folder, coin, value)
        if value in progress.points and (not keep_models or kept.exists() or progress.points[value].refused):
            continue
        step = f"{number + 1} of {len(wanted)}, {coin.removeprefix('target_')} {value:g}"
        todo.append(Budget(step, coin, value, folder, kept if keep_models else None, force))
    if asked.spread and not progress.resumed:
        # before workers keep a model there
        progress.write()
    with spread(source, request, todo, asked) if asked.spread and todo else nullcontext() as elsewhere:
        ranked = score(subject, request)
        quality = Quality(subject, request.options, request.focus)
        if not progress.resumed:
            # whenever it is stopped from here on, the folder is this sweep's
            progress.write()
        for point in tried(ranked, request, quality, todo) if elsewhere is None else elsewhere:
            progress.add(point)
    if not progress.sensitivity:
        progress.sensitivity = sensitivities(ranked, quality.drift_of)
        progress.write()
    points = mark_pareto([progress.points[v] for v in wanted])
    if all(p.refused for p in points):
        raise _none_met(points[0].refused)
    predicted = [unmeasured(request.options.device)] if coin == "target_latency" and request.elsewhere else []
    warnings = [
        *subject.source.warnings,
        *predicted,
        *ranked.warnings,
        *(f"at {p.asked:g} the repair was dropped: {p.dropped}" for p in points if p.dropped),
    ]
    return Sweep(source.name, coin, points, progress.sensitivity, quality.of_original(), quality.about, warnings)


def _check_reach(subject: Subject, request: Request, coin: str, wanted: Sequence[float]) -> None:
    """Raises UnreachableError, before anything is scored, if no budget can be met whatever the scores are."""
    refused = list[str]()
    for value in wanted:
        try:
            return check_reach(subject, request.with_budget(coin, value))
        except (UnreachableError, ModelError) as error:
            refused.append(str(error))
    raise _none_met(refused[0])


def _none_met(why: str) -> UnreachableError:
    return UnreachableError(f"none of the budgets can be met: {why}")


def _kept(folder: Path, coin: str, value: float) -> Path:
    """Where the model of a point is kept."""
    return folder / f"{coin.removeprefix('target_')}-{value:g}.onnx"
