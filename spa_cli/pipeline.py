"""The pipeline: load, analyse, score, choose, cut, verify, save. Read top to bottom."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import onnx

from spa_cli.analysis import analyse_model
from spa_cli.budget.latency import LATENCY_TOLERANCE
from spa_cli.calibration.judging import judged, made_up
from spa_cli.errors import UsageError, VerificationError, first_line
from spa_cli.graph.save import check_writable, write_text
from spa_cli.graph.source import Source
from spa_cli.options import Options
from spa_cli.plan import Plan, from_cut, to_selection
from spa_cli.prepare import Prepared, Subject, prepare
from spa_cli.progress import stage
from spa_cli.report.page.render import check_page
from spa_cli.result import Figures, Result
from spa_cli.runtime.first_run import first_run
from spa_cli.runtime.load import load
from spa_cli.runtime.providers import chosen, on_its_providers
from spa_cli.runtime.session import open_session, target
from spa_cli.runtime.timing import Timing, latency
from spa_cli.trial.attempt import Attempts, Made
from spa_cli.trial.cutting import Cutting, cut_to, note
from spa_cli.trial.search import smallest
from spa_cli.verification.drift import Drift, drift_over

Model: TypeAlias = str | os.PathLike[str] | onnx.ModelProto


@on_its_providers
def prune(
    model: Model,
    options: Options,
    out: Path | None = None,
    *,
    force: bool = False,
    plan_out: Path | None = None,
    report: Path | None = None,
    dry_run: bool = False,
    of_many: bool = False,
) -> Result:
    """Prune ``model``: the steps of the design, in order. Raises the errors of ``spa_cli.errors``.

    ``of_many``: other models get the same options, so a name among them need not be of this one.
    """
    stage("reading the model")
    source = load(model)
    check_outputs(source, options, out, plan_out, report, force)
    out, plan_out, report = (None, None, None) if dry_run else (out, plan_out, report)

    prepared = prepare(source, options, out, of_many=of_many)
    cutting = (smallest if options.measures_quality else cut_to)(prepared, options)
    about, warnings = account(prepared, options, cutting)
    stage("measuring latency")
    timing, asked = cutting.timing, options.target_latency
    if timing is not None and asked is not None and abs(timing.left - asked) > LATENCY_TOLERANCE * asked:
        warnings.append(
            f"this machine is busy: {timing.left:.3f} of the latency is left by the median, {timing.quiet_left:.3f} by "
            "the fastest tenth of the runs; run 'spa verify' when it is idle"
        )

    def page(result: Result) -> str:
        # what it is made with is an extra
        from spa_cli.report.page.prune import prune_page

        return prune_page(result, prepared, cutting, options)

    pages = {} if report is None else {report: page}
    return _finish(prepared.subject, cutting.made, about, warnings, out, plan_out, timing, pages)


def check_outputs(
    source: Source, options: Options, out: Path | None, plan_out: Path | None, report: Path | None, force: bool
) -> None:
    """Raise UsageError, before any work, for files that can't be written and options that serve nothing."""
    for file in (out, plan_out):
        if file is not None:
            check_writable(file, source, force)
    if out is not None and plan_out is not None and out.absolute() == plan_out.absolute():
        raise UsageError(f"--output and --plan-out are the same file '{out}'; give two names")
    if report is not None:
        check_page(report, source, force, "--report")
        for flag, file in (("--output", out), ("--plan-out", plan_out)):
            if file is not None and file.absolute() == report.absolute():
                raise UsageError(f"{flag} and --report are the same file '{report}'; give two names")
    if (options.test or options.evaluate) and not options.measures_quality:
        raise UsageError("--test and --eval serve --max-drift and --min-accuracy; give one of those, or leave them out")


def account(prepared: Prepared, options: Options, cutting: Cutting) -> tuple[dict[str, Any], list[str]]:
    """What the plan says of how it came about; what the user should know."""
    analysis, curvature = prepared.subject.analysis, prepared.curvature
    about: dict[str, Any] = {
        "model": prepared.subject.source.name,
        "digest": prepared.subject.source.digest(),
        "method": options.method,
        "seed": options.seed,
        "input_shapes": {n: list(s) for n, s in analysis.input_shapes.items()},
    }
    for name in ("aggregation", "normalisation"):
        if getattr(options, name) is not None:
            about[name] = getattr(options, name)
    about["round_to"] = cutting.round_to
    if cutting.gave_way:
        about["round_to_because"] = cutting.gave_way
    if options.focus:
        about["focus"] = list(options.focus)
    warnings = [*prepared.doubts, *prepared.attempts.unchecked()]
    groups = analysis.grouping.groups
    if prepared.unscored:
        index, why = next(iter(prepared.unscored.items()))
        many = f"{len(prepared.unscored)} of {len(groups)} groups were left whole: {why}"
        warnings.append(f"{many} (the first is '{groups[index].name}')")
    warnings += [f"group '{groups[i].name}' was left whole: {why}" for i, why in cutting.left_whole.items()]
    if curvature is not None:
        about["repair"] = curvature.about()
        warnings += curvature.warnings()
    return about, warnings


def apply(
    plan: Plan | Path,
    model: Model,
    out: Path | None = None,
    *,
    force: bool = False,
    input_shape: dict[str, tuple[int, ...]] | None = None,
) -> Result:
    """Carry out a plan on the model it was made for, or on a retrained one: weights are cut, not repaired.

    Raises the errors of ``spa_cli.errors``.
    """
    plan = plan if isinstance(plan, Plan) else Plan.read(plan)
    stage("reading the model")
    source = load(model)
    if out is not None:
        check_writable(out, source, force)
    stage("finding which channels depend on each other")
    analysis = analyse_model(source, input_shape or plan.input_shapes(source.graph))
    selection = to_selection(plan, analysis)
    if not selection.kept:
        raise UsageError("the plan keeps everything, there is nothing to cut; give one that removes channels")
    feeds, reference = first_run(source, analysis.graph, analysis.shapes_to_try, None)
    stage("cutting and verifying")
    attempts = Attempts(source, analysis, feeds, reference, out)
    made, problem = attempts.make(selection, note(plan.about.get("method", "plan"), selection, analysis))
    if made is None:
        raise VerificationError(
            f"the plan can't be carried out on '{source.name}': {problem}; make a plan from this model"
        )
    stage("measuring latency")
    subject = Subject(source, analysis, feeds, reference, judged(source, feeds, lambda: made_up(analysis, 1)))
    about, warnings = dict(plan.about), attempts.unchecked()
    if about.pop("repair", None) is not None:
        warnings.append(
            "the weights were cut, not repaired: a plan says what stays; train on, or repair with 'spa prune' anew"
        )
    return _finish(subject, made, about, warnings, out, None)


def moved(subject: Subject, made: Made) -> Drift:
    """How far outputs moved on the samples that nothing was fitted to."""
    large = subject.source.external
    before, after = (open_session(m, large=large, providers=chosen()) for m in (subject.source, str(made.staged.path)))
    return drift_over(before, after, subject.judges.runs)


def _finish(
    subject: Subject,
    made: Made,
    about: dict[str, Any],
    warnings: list[str],
    out: Path | None,
    plan_out: Path | None,
    timing: Timing | None = None,
    pages: Mapping[Path, Callable[[Result], str]] = MappingProxyType({}),
) -> Result:
    """Measure, write what was asked for, report; whatever happens, leave nothing half-written behind."""
    source, analysis, feeds = subject.source, subject.analysis, subject.feeds
    try:
        warnings = [*source.warnings, *warnings]
        try:
            timing = timing or latency(target(source), str(made.staged.path), feeds, apart=source.external)
        except Exception as error:  # noqa: BLE001 - verified models run; onnxruntime's optimiser may still stumble
            warnings.append(f"latency could not be measured: {first_line(error, 120)}")
        stage("comparing outputs")
        params, macs = analysis.costs.after(made.selection)
        before, after = (timing.before, timing.after) if timing else (None, None)
        costs, left = analysis.costs, analysis.channels - made.selection.removed
        cut_groups = [(g, int(mask.reshape(-1, g.channels)[0].sum())) for g, mask in made.selection.groups()]
        plan = from_cut(made.work, {**about, "groups": {g.name: g.channels - kept for g, kept in cut_groups}})
        drift = moved(subject, made)
        if not drift.resembles:
            warnings.insert(0, drift.warning(subject.judges.about))
        result = Result(
            source=source,
            analysis=analysis,
            plan=plan,
            before=Figures(analysis.channels, costs.params, costs.macs, source.bytes, before),
            after=Figures(left, params, macs, made.staged.bytes, after),
            drift=drift,
            samples=subject.judges.samples,
            judged_on=subject.judges.about,
            cut_groups=cut_groups,
            warnings=warnings,
            out=out,
            model=made.work.model,
        )
        # all of it is made before any of it is written
        texts = {file: make(result) for file, make in pages.items()}
        if plan_out is not None:
            texts[plan_out] = plan.to_json()
        if out is not None:
            made.staged.publish(out)
        elif source.external:
            made.staged.read_into(made.work.model)
        for file, text in texts.items():
            write_text(file, text)
        return result
    finally:
        made.staged.discard()
