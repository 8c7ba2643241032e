"""The budgets of a sweep, tried one after the other where it is prepared, or on the workers of an engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from spa_cli.engines import Asked, Job, Made, engine_of
from spa_cli.errors import ModelError, UnreachableError, UsageError, VerificationError
from spa_cli.graph.source import Source
from spa_cli.isolation import Bounds
from spa_cli.memory import allowing, sharing
from spa_cli.options import Options
from spa_cli.progress import within
from spa_cli.request import Request
from spa_cli.runtime.load import load
from spa_cli.runtime.providers import running_on
from spa_cli.runtime.timed import timed_as
from spa_cli.sweeping.points import Point
from spa_cli.trial.orders import cut_by_budget
from spa_cli.trial.prepare import Ranked, analyse, score
from spa_cli.trial.trials import Trials
from spa_cli.verification.quality import Quality

# a sweep in one process takes as long as it takes
_YEARS = 1e8


@dataclass(frozen=True)
class Budget:
    """One to try, ``value`` of ``coin``; ``keep``: where its model goes, over what is there with ``force``."""

    step: str
    coin: str
    value: float
    folder: Path
    keep: Path | None
    force: bool


def tried(ranked: Ranked, request: Request, quality: Quality, budgets: Sequence[Budget]) -> Iterator[Point]:
    """What each leaves, one after the other."""
    for budget in budgets:
        with within(budget.step):
            own = request.with_budget(budget.coin, budget.value)
            yield _point(ranked, own, budget.value, quality, budget.folder, budget.keep, budget.force)


@contextmanager
def spread(source: Source, request: Request, budgets: Sequence[Budget], asked: Asked) -> Iterator[Iterator[Point]]:
    """What each leaves, made by workers, each of which prepares the model once."""
    if source.path is None:
        raise UsageError(
            f"a model in memory can't go to the workers of --engine {asked.text}; save it to a file, or leave it out"
        )
    share = asked.sharing(len(budgets))
    jobs = []
    for budget in budgets:
        arguments = (source.path.absolute(), request.options, budget, share)
        # what is not there now, and is when it has to be done again, was made by the worker that died
        fresh = budget.keep is not None and not budget.keep.exists()
        again = (source.path.absolute(), request.options, replace(budget, force=True), share) if fresh else None
        jobs.append(Job(source.name, budget.step, arguments, again))
    with engine_of(asked, Bounds(_YEARS), len(jobs)) as engine:
        # they begin while the caller does what it does before it looks
        yield _points(engine.map("spa_cli.sweeping.budgets:point", jobs))


def _points(found: Iterator[Made]) -> Iterator[Point]:
    for made in found:
        if made.error is not None:
            raise made.error
        yield Point(**{**made.value, "seconds": tuple(made.value["seconds"])})


def point(model: Path, options: Options, budget: Budget, share: int) -> dict[str, Any]:
    """In a child of a worker: what one budget leaves, as JSON takes it; ``share``: so many work on this machine."""
    with (
        running_on(options.provider),
        timed_as(options.batch, options.threads),
        allowing(options.memory_size),
        sharing(share),
    ):
        request, ranked, quality = _prepared(model, options)
        (found,) = tried(ranked, request, quality, [budget])
        return asdict(found)


_kept: dict[tuple[Any, ...], tuple[Request, Ranked, Quality]] = {}


def _prepared(model: Path, options: Options) -> tuple[Request, Ranked, Quality]:
    """Read, analysed and scored, once for all budgets of a sweep that come here."""
    about = model.stat()
    key = (str(model), about.st_mtime_ns, about.st_size, repr(options))
    if key not in _kept:
        _kept.clear()
        request = Request.of(options)
        subject = analyse(load(model), request)
        _kept[key] = request, score(subject, request), Quality(subject, options, request.focus)
    return _kept[key]


def _point(
    ranked: Ranked, request: Request, value: float, quality: Quality, folder: Path, keep: Path | None, force: bool
) -> Point:
    subject, options = ranked.subject, request.options
    with Trials(subject, ranked.curvature, keep or folder / "model.onnx", options.method) as trials:
        try:
            _, choice, small = cut_by_budget(ranked, request, trials)
            if options.tidy:
                trials.fold_norms(small)
        except (UnreachableError, ModelError, VerificationError) as error:
            return Point(value, refused=str(error))
        costs, timing = subject.analysis.costs, choice.timing or trials.latency_of(small)
        measured, (params, macs) = quality.of(small.staged.path, small.work.states), costs.after(choice.selection)
        perplexity = measured.drift.perplexity
        found = Point(
            asked=value,
            macs=macs / max(costs.macs, 1),
            params=params / costs.params,
            bytes=small.staged.bytes / subject.source.bytes,
            latency=timing.left,
            seconds=(timing.before, timing.after),
            drift=measured.drift.relative_l2,
            agreement=measured.drift.agreement,
            accuracy=measured.accuracy,
            perplexity=None if perplexity is None or perplexity.after is None else perplexity.after.value,
            perplexity_ratio=None if perplexity is None else perplexity.ratio.value,
            kept=measured.drift.kept,
            ruined=not measured.drift.resembles,
            dropped="" if small.done is None else small.done.dropped,
        )
        if keep is not None:
            small.staged.publish(keep, force)
    return found
