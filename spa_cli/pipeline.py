"""The pipeline: load, analyse, score, choose, cut, verify, save. Read top to bottom."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import onnx

from spa_cli.analysis import Analysis, analyse_model
from spa_cli.attempt import Attempts, Made
from spa_cli.budget.kernels import roundings
from spa_cli.budget.targets import Target
from spa_cli.channels.selection import Selection
from spa_cli.errors import ModelError, UnreachableError, UsageError, VerificationError
from spa_cli.graph.load import load
from spa_cli.graph.save import check_writable, write_text
from spa_cli.options import Options
from spa_cli.plan import Plan, from_cut, to_selection
from spa_cli.prepare import VERIFY_SAMPLES, Prepared, Progress, Subject, prepare
from spa_cli.result import Figures, Result
from spa_cli.verification.check import drift, latency
from spa_cli.verification.feeds import first_run
from spa_cli.verification.session import target


@dataclass(frozen=True, eq=False)
class Cutting:
    """A cut that meets its budget; ``seconds``: latency before and after, where that was the budget."""

    made: Made
    left_whole: dict[int, str]
    round_to: int
    seconds: tuple[float, float] | None


Model: TypeAlias = str | os.PathLike[str] | onnx.ModelProto


def prune(
    model: Model,
    options: Options,
    out: Path | None = None,
    *,
    force: bool = False,
    plan_out: Path | None = None,
    dry_run: bool = False,
    progress: Progress = lambda _: None,
) -> Result:
    """Prune ``model``: the steps of the design, in order. Raises the errors of ``spa_cli.errors``."""
    progress("reading the model")
    source = load(model)
    for file in (out, plan_out):
        if file is not None:
            check_writable(file, source, force)
    if out is not None and plan_out is not None and out.absolute() == plan_out.absolute():
        raise UsageError(f"--output and --plan-out are the same file '{out}'; give two names")
    out, plan_out = (None, None) if dry_run else (out, plan_out)

    prepared = prepare(source, options, out, progress)
    cutting = cut_to(prepared, options, progress)
    about, warnings = account(prepared, options, cutting)
    progress("measuring latency")
    return _finish(prepared.subject, cutting.made, about, warnings, out, plan_out, cutting.seconds)


def cut_to(prepared: Prepared, options: Options, progress: Progress = lambda _: None) -> Cutting:
    """Choose, cut, repair, verify and confirm under the budget of ``options``.

    Raises UnreachableError if the budget can't be met, ModelError if nothing can go.
    """
    subject = prepared.subject
    target = Target(subject.source, subject.analysis, prepared.rankings, prepared.attempts, options)
    multiples = [options.round_to] if isinstance(options.round_to, int) else roundings(subject.analysis.graph)
    for multiple in multiples:
        try:
            return _cut_rounded(prepared, options, target, multiple, progress)
        except UnreachableError:
            # only a multiple that was picked for the user gives way to the budget
            if multiple == multiples[-1]:
                raise
    raise AssertionError("no multiple was tried")


def _cut_rounded(prepared: Prepared, options: Options, target: Target, multiple: int, progress: Progress) -> Cutting:
    analysis, attempts, curvature = prepared.subject.analysis, prepared.attempts, prepared.curvature
    prices = target.prices() if options.recipe.only_obspa else None
    constraints = options.constraints(multiple)
    left_whole: dict[int, str] = {}
    while True:
        progress("choosing what goes")
        order = analysis.order(prepared.rankings, constraints, {*left_whole, *prepared.unscored}, prices)
        if not order.steps:
            _refuse(prepared.subject, left_whole)
        selection = target.choose(order)
        progress("cutting, repairing and verifying" if curvature else "cutting and verifying")
        repair = curvature.repair if curvature else None
        made, problem = attempts.make(selection, _note(options.method, selection, analysis), repair)
        if made is None:
            left_whole |= attempts.culprits(selection, problem)
            continue
        try:
            if target.confirm(made):
                return Cutting(made, left_whole, multiple, target.seconds)
        except BaseException:
            made.staged.discard()
            raise
        made.staged.discard()


def _refuse(subject: Subject, left_whole: dict[int, str]) -> None:
    """Nothing can go: say why."""
    nothing = f"nothing in '{subject.source.name}' can be pruned"
    if left_whole:
        index, why = next(iter(left_whole.items()))
        name = subject.analysis.grouping.groups[index].name
        raise ModelError(f"{nothing}: no cut of its groups survived verification ('{name}': {why})")
    raise ModelError(f"{nothing} under these constraints; 'spa inspect' lists the groups")


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
    if options.round_to != 1:
        about["round_to"] = cutting.round_to
    if options.focus:
        about["focus"] = list(options.focus)
    warnings = prepared.attempts.unchecked()
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
    progress: Progress = lambda _: None,
) -> Result:
    """Carry out a plan on the model it was made for, or on a retrained one. Raises the errors of ``spa_cli.errors``."""
    plan = plan if isinstance(plan, Plan) else Plan.read(plan)
    progress("reading the model")
    source = load(model)
    if out is not None:
        check_writable(out, source, force)
    progress("finding which channels depend on each other")
    analysis = analyse_model(source, input_shape or plan.input_shapes(source.graph))
    selection = to_selection(plan, analysis)
    if not selection.kept:
        raise UsageError("the plan keeps everything; there is nothing to cut")
    feeds, reference = first_run(source, analysis, None, VERIFY_SAMPLES)
    progress("cutting and verifying")
    attempts = Attempts(source, analysis, feeds, reference, out)
    made, problem = attempts.make(selection, _note(plan.about.get("method", "plan"), selection, analysis))
    if made is None:
        raise VerificationError(f"the plan can't be carried out on '{source.name}': {problem}")
    progress("measuring latency")
    subject = Subject(source, analysis, feeds, reference)
    return _finish(subject, made, dict(plan.about), attempts.unchecked(), out, None)


def _note(method: str, selection: Selection, analysis: Analysis) -> dict[str, object]:
    """What the metadata entry of the result says."""
    from spa_cli import __version__

    return {
        "version": __version__,
        "method": method,
        "removed_channels": selection.removed,
        "channels": analysis.channels,
    }


def _finish(
    subject: Subject,
    made: Made,
    about: dict[str, Any],
    warnings: list[str],
    out: Path | None,
    plan_out: Path | None,
    seconds: tuple[float, float] | None = None,
) -> Result:
    """Measure, write what was asked for, report; whatever happens, leave nothing half-written behind."""
    source, analysis, feeds = subject.source, subject.analysis, subject.feeds
    try:
        warnings = [*source.warnings, *warnings]
        before: float | None = None
        after: float | None = None
        try:
            before, after = seconds or latency(target(source), str(made.staged.path), feeds, apart=source.external)
        except Exception as error:  # noqa: BLE001 - verified models run; onnxruntime's optimiser may still stumble
            warnings.append(f"latency could not be measured: {str(error).splitlines()[0][:120]}")
        params, macs = analysis.costs.after(made.selection)
        cut_groups = [(g, int(mask.reshape(-1, g.channels)[0].sum())) for g, mask in made.selection.groups()]
        plan = from_cut(made.work, {**about, "groups": {g.name: g.channels - kept for g, kept in cut_groups}})
        result = Result(
            source=source,
            analysis=analysis,
            plan=plan,
            before=Figures(analysis.channels, analysis.costs.params, analysis.costs.macs, source.bytes, before),
            after=Figures(analysis.channels - made.selection.removed, params, macs, made.staged.bytes, after),
            drift=drift(subject.reference, made.outputs),
            cut_groups=cut_groups,
            warnings=warnings,
            out=out,
            model=made.work.model,
        )
        if out is not None:
            made.staged.publish(out)
        elif source.external:
            made.staged.read_into(made.work.model)
        if plan_out is not None:
            write_text(plan_out, plan.to_json())
        return result
    finally:
        made.staged.discard()
