"""Everything that is done to a model before a budget is chosen, so that several budgets can share it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spa_cli.analysis import Analysis, analyse_model
from spa_cli.budget.patterns import check_patterns
from spa_cli.calibration.chunks import Calibration
from spa_cli.calibration.judging import first_of, judged, judges
from spa_cli.calibration.read import samples_to_fit, samples_to_test
from spa_cli.channels.ranking import Ranking
from spa_cli.errors import ModelError
from spa_cli.graph.source import Source
from spa_cli.importance.evidence import Evidence
from spa_cli.importance.score import rank_groups
from spa_cli.obspa.curvature import Curvature
from spa_cli.options import Options
from spa_cli.progress import stage
from spa_cli.runtime.first_run import first_run, shapes_of
from spa_cli.runtime.session import Feeds
from spa_cli.trial.attempt import Attempts

VERIFY_SAMPLES = 8


@dataclass(frozen=True, eq=False)
class Subject:
    """A model that was loaded, analysed and run: ``reference`` is what it gives for ``feeds``.

    ``judges``: samples that nothing is fitted to (the feeds themselves where it does not run on others).
    """

    source: Source
    analysis: Analysis
    feeds: Feeds
    reference: list[Any]
    judges: Calibration


@dataclass(frozen=True, eq=False)
class Prepared:
    """A subject whose channels were scored.

    ``unscored``: groups the criterion says nothing about, with the reason. ``curvature``: what repairs a cut, if
    anything does. ``doubts``: what the user should know of what was asked.
    """

    subject: Subject
    rankings: list[Ranking]
    unscored: dict[int, str]
    curvature: Curvature | None
    attempts: Attempts
    doubts: tuple[str, ...] = ()


def prepare(source: Source, options: Options, out: Path | None, *, of_many: bool = False) -> Prepared:
    """Analyse, run and score; raises the errors of ``spa_cli.errors``. ``of_many``: others get the same options."""
    stage("finding which channels depend on each other")
    given = samples_to_fit(options, source.graph)
    # what can't be read is refused before any work
    samples_to_test(options, source.graph)
    analysis = analyse_model(source, options.input_shape, given.shapes if given else {})
    _require_prunable(source, analysis)
    doubts = check_patterns(options.constraints(), analysis.grouping, analysis.graph, source.name, of_many)
    stage("running the original")
    held = judges(analysis, options) if given is not None else None
    first = None if held is None else first_of(analysis.graph, held, VERIFY_SAMPLES)
    feeds, reference = first_run(source, analysis.graph, analysis.shapes_to_try, first)
    if given is None and (shapes := shapes_of(feeds)) != analysis.input_shapes:
        # the shapes that were guessed first don't run
        analysis = analyse_model(source, shapes)
        _require_prunable(source, analysis)
    subject = Subject(
        source, analysis, feeds, reference, held or judged(source, feeds, lambda: judges(analysis, options))
    )

    stage("scoring channels")
    evidence = Evidence(analysis, options, subject.judges)
    rankings, unscored = rank_groups(evidence, options.recipe)
    if len(unscored) == len(analysis.grouping.groups):
        raise ModelError(
            f"nothing in '{source.name}' can be pruned by --method {options.method}: {next(iter(unscored.values()))}; "
            "use another criterion ('spa criteria')"
        )
    curvature = evidence.curvature if options.repairs else None
    if evidence.sampled and evidence.curvature.calibration.doubt:
        doubts = [*doubts, evidence.curvature.calibration.doubt]
    attempts = Attempts(source, analysis, feeds, reference, out)
    return Prepared(subject, rankings, unscored, curvature, attempts, tuple(doubts))


def _require_prunable(source: Source, analysis: Analysis) -> None:
    if analysis.grouping.groups:
        return
    if not analysis.graph.weights():
        raise ModelError(f"nothing in '{source.name}' can be pruned: it has no weights; export it with them")
    reasons = [f.reason.text for f in analysis.grouping.frozen if f.reason.text != "has a single channel"]
    ranked = sorted(set(reasons), key=lambda r: (-reasons.count(r), r))
    why = (
        f"{reasons.count(ranked[0])} of {len(reasons)} axes: {ranked[0]}"
        if ranked
        else "every axis is a single channel"
    )
    raise ModelError(f"nothing in '{source.name}' can be pruned ({why}); 'spa inspect' tells why, axis by axis")
