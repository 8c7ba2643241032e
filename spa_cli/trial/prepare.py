"""Everything that is done to a model before a budget is chosen, so that several budgets can share it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from spa_cli.analysis import Analysis, analyse_model, analysed_as_it_ran
from spa_cli.budget.patterns import check_patterns
from spa_cli.calibration.judging import first_of, judging_samples, or_feeds
from spa_cli.calibration.read import Data, read_data
from spa_cli.calibration.seen import in_a_line
from spa_cli.channels.ranking import Ranking
from spa_cli.errors import ModelError
from spa_cli.graph.source import Source
from spa_cli.importance.evidence import Evidence
from spa_cli.importance.score import rank_groups
from spa_cli.measures.kinds import DETECTIONS, MASKS
from spa_cli.measures.perplexity import require_tokens
from spa_cli.obspa.curvature import Curvature
from spa_cli.progress import note, stage
from spa_cli.request import Request
from spa_cli.runtime.explained import explained
from spa_cli.runtime.first_run import first_run
from spa_cli.tidy.optional_inputs import by_habit, untidy
from spa_cli.tidy.steps import UNASKED, tidied
from spa_cli.trial.tidying import differs, tidied_by_what_holds
from spa_cli.verification.numbers import check_found, check_numbers
from spa_cli.verification.subject import Subject

VERIFY_SAMPLES = 8


@dataclass(frozen=True, eq=False)
class Ranked:
    """A model whose channels are in the order in which they would go, group by group.

    ``unscored``: groups the criterion says nothing about, with the reason. ``curvature``: what repairs a cut, if
    anything does. ``warnings``: what the user should know of what was asked and of the samples. ``other``: another
    order, where only the finished file tells which is better.
    """

    subject: Subject
    rankings: list[Ranking]
    unscored: dict[int, str]
    curvature: Curvature | None
    warnings: tuple[str, ...] = ()
    other: list[Ranking] | None = None


def analyse(source: Source, request: Request, *, of_many: bool = False) -> Subject:
    """Tidy up, find which channels depend on each other, and run the original.

    ``of_many``: other models get the same request, so a name in it need not be of this one. Raises the errors of
    ``spa_cli.errors``.
    """
    with explained(source.name):
        if request.options.tidy is None and by_habit(source):
            return _with_weights_off(source, request, of_many)
        if not request.options.tidy:
            _warn(source, untidy(source))
            return _analyse(source, request, of_many)
        stage("tidying up")
        subject = _analyse(tidied(source), request, of_many)
        # samples to check it on are known only now
        if differs(subject) is not None:
            subject = _analyse(tidied_by_what_holds(source, subject), request, of_many, subject.data)
        return subject


def _with_weights_off(source: Source, request: Request, of_many: bool) -> Subject:
    made = tidied(source, [UNASKED])
    said = len(source.warnings)
    made.warnings[said] += "; --no-tidy keeps " + ("them" if made.tidied[UNASKED] > 1 else "it")
    note(made.warnings[said])
    subject = _analyse(made, request, of_many)
    if (why := differs(subject)) is None:
        return subject
    _warn(source, untidy(source, f"nothing is changed, as the model is another without {{}}: {why}"))
    return _analyse(source, request, of_many, subject.data)


def _warn(source: Source, warning: str) -> None:
    """While there is time to stop, and beside the result."""
    if warning:
        note(warning)
        source.warnings.append(warning)


def _analyse(source: Source, request: Request, of_many: bool, data: Data | None = None) -> Subject:
    options, focus = request.options, request.focus
    stage("finding which channels depend on each other")
    # what was read is not asked for again: there are sources that give it once
    data = data or read_data(options, focus, request.reading, source.graph)
    analysis = analyse_model(source, options.input_shape, data.shapes, options.shrinking)
    _require_prunable(source, analysis)
    warnings = check_patterns(request.constraints, analysis.grouping, analysis.graph, source.name, of_many)
    if not options.run:
        stage("running what can be run of the original")
        return Subject.not_run(source, analysis, tuple(warnings))
    stage("running the original")
    held = judging_samples(analysis, options, focus, data) if data.fit is not None else None
    first = None if held is None else first_of(analysis.graph, held, VERIFY_SAMPLES)
    feeds, reference = first_run(source, analysis.graph, analysis.state.shapes, analysis.shapes_to_try, first)
    warnings += check_numbers(source.name, analysis.graph, reference)
    if data.fit is None:
        analysis = analysed_as_it_ran(source, analysis, feeds, options.shrinking)
        _require_prunable(source, analysis)
    held = held or or_feeds(
        source, feeds, lambda: judging_samples(analysis, options, focus, data), data.test is not None
    )
    subject = Subject(source, analysis, feeds, reference, held, data, tuple(warnings), said=options.judge_as)
    subject.panel  # noqa: B018 - raises UsageError, before any work, for what --as says and is not so
    if options.max_perplexity_ratio is not None:
        require_tokens(subject.panel)
    subject.timed  # noqa: B018 - raises OptionError for a --batch that the model does not take
    if data.fit is not None and (strange := check_found(subject)):
        # while there is time to stop
        note(strange[0])
        subject = replace(subject, warnings=(*subject.warnings, *strange))
    note(f"runs on {in_a_line(held)}")
    return subject


def score(subject: Subject, request: Request) -> Ranked:
    """Rank the channels of every group; raises ModelError where the criterion says nothing about any."""
    stage("scoring channels")
    evidence = Evidence(subject.analysis, request.options, request.focus, subject.data, subject.judges)
    with explained(subject.source.name):
        rankings, unscored = rank_groups(evidence, request.recipe)
        other = None
        if _in_doubt(subject, request) and evidence.curvature.directed:
            other, _ = rank_groups(evidence.undirected(), request.recipe)
    if len(unscored) == len(subject.analysis.grouping.groups):
        raise ModelError(
            f"nothing in '{subject.source.name}' can be pruned by --method {request.options.method}: "
            f"{next(iter(unscored.values()))}; use another criterion ('spa criteria')"
        )
    curvature = evidence.curvature if request.repairs else None
    warnings = list(subject.warnings)
    if evidence.sampled:
        warnings += filter(None, (evidence.curvature.calibration.warning, evidence.curvature.lacking))
    return Ranked(subject, rankings, unscored, curvature, tuple(warnings), other)


def _in_doubt(subject: Subject, request: Request) -> bool:
    """Whether what outputs feel of layers may mislead: those that say a few things of many positions.

    It has to be worth the time to try two orders, and there has to be one budget that they are tried for.
    """
    options = request.options
    once = options.rounds == 1 and options.work is None and not options.measures_quality
    if not (once and request.recipe.only_obspa and request.repairs) or subject.analysis.graph.mapped:
        return False
    return any(one.kind in (DETECTIONS, MASKS) for one in subject.panel.taken)


def _require_prunable(source: Source, analysis: Analysis) -> None:
    if analysis.grouping.groups:
        return
    if not analysis.graph.weights():
        raise ModelError(f"nothing in '{source.name}' can be pruned: it has no weights; export it with them")
    reasons = [f.reason.text for f in analysis.grouping.frozen if f.counts]
    ranked = sorted(set(reasons), key=lambda r: (-reasons.count(r), r))
    why = (
        f"{reasons.count(ranked[0])} of {len(reasons)} axes: {ranked[0]}"
        if ranked
        else "no axis of a weight has channels that could go"
    )
    raise ModelError(f"nothing in '{source.name}' can be pruned ({why}); 'spa inspect' tells why, axis by axis")
