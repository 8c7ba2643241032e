"""The pipeline: load, analyse, score, choose, cut, verify, save. Read top to bottom."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import onnx

from spa_cli.analysis import Analysis, analyse_model
from spa_cli.attempt import Attempts, Made
from spa_cli.budget.choose import Order
from spa_cli.channels.selection import Selection
from spa_cli.errors import ModelError, UnreachableError, UsageError, VerificationError
from spa_cli.graph.load import Source, load
from spa_cli.graph.save import check_writable, write_text
from spa_cli.importance.criteria import Ranking, score
from spa_cli.obspa.curvature import Curvature
from spa_cli.options import Options
from spa_cli.plan import Plan, from_cut, to_selection
from spa_cli.result import Figures, Result
from spa_cli.verification.check import drift, latency
from spa_cli.verification.feeds import first_run, shapes_of
from spa_cli.verification.session import Feeds, target

Progress = Callable[[str], None]
Model: TypeAlias = str | os.PathLike[str] | onnx.ModelProto
_VERIFY_SAMPLES = 8


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

    progress("finding which channels depend on each other")
    analysis = analyse_model(source, options.input_shape)
    _require_prunable(source, analysis)
    progress("running the original")
    feeds, reference = first_run(source, analysis, options.calib, min(options.calib_samples, _VERIFY_SAMPLES))
    if options.calib is None and (shapes := shapes_of(feeds)) != analysis.input_shapes:
        # the shapes that were guessed first don't run
        analysis = analyse_model(source, shapes)
        _require_prunable(source, analysis)

    progress("scoring channels")
    curvature = Curvature.measure(analysis, options) if options.method == "obspa" else None
    if curvature is not None:
        rankings = curvature.rankings()
        prices = analysis.prices(options)
    else:
        scores = score(analysis.graph, analysis.grouping, options.method, options.seed)
        rankings, prices = [Ranking.of(s) for s in scores], None
    attempts = Attempts(source, analysis, feeds, reference, out)
    order, left_whole = analysis.order, dict[int, str]()
    while True:
        progress("choosing what goes")
        steps = order(rankings, options.constraints, set(left_whole), prices)
        selection = choose(source, analysis, options, attempts, steps, left_whole)
        progress("cutting, repairing and verifying" if curvature else "cutting and verifying")
        repair = curvature.repair if curvature else None
        made, problem = attempts.make(selection, _note(options.method, selection, analysis), repair)
        if made is not None:
            break
        left_whole |= attempts.culprits(selection, problem)

    about = {
        "model": source.name,
        "digest": source.digest(),
        "method": options.method,
        "seed": options.seed,
        "input_shapes": {n: list(s) for n, s in analysis.input_shapes.items()},
    }
    warnings = attempts.unchecked()
    warnings += [f"group '{analysis.grouping.groups[i].name}' was left whole: {why}" for i, why in left_whole.items()]
    if curvature is not None:
        about["repair"] = curvature.about()
        warnings += curvature.warnings()
    progress("measuring latency")
    return _finish(source, analysis, made, about, warnings, feeds, reference, out, plan_out, options.target_latency)


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
    feeds, reference = first_run(source, analysis, None, _VERIFY_SAMPLES)
    progress("cutting and verifying")
    attempts = Attempts(source, analysis, feeds, reference, out)
    made, problem = attempts.make(selection, _note(plan.about.get("method", "plan"), selection, analysis))
    if made is None:
        raise VerificationError(f"the plan can't be carried out on '{source.name}': {problem}")
    progress("measuring latency")
    return _finish(source, analysis, made, dict(plan.about), attempts.unchecked(), feeds, reference, out, None)


def choose(
    source: Source,
    analysis: Analysis,
    options: Options,
    attempts: Attempts,
    order: Order,
    left_whole: dict[int, str],
) -> Selection:
    """What stays under the budget; raises UnreachableError if it can't be met.

    ``left_whole``: groups that were tried and did not survive, and why.
    """
    costs = analysis.costs
    if not order.steps and left_whole:
        index, why = next(iter(left_whole.items()))
        name = analysis.grouping.groups[index].name
        raise ModelError(
            f"nothing in '{source.name}' can be pruned: no cut of its groups survived verification ('{name}': {why})"
        )
    if not order.steps:
        raise ModelError(
            f"nothing in '{source.name}' can be pruned under these constraints; 'spa inspect' lists the groups"
        )
    if options.ratio is not None:
        return order.selection(order.by_ratio(options.ratio))
    if options.target_macs is not None:
        if not costs.macs:
            raise UsageError(f"--target-macs can't be used: '{source.name}' has no operator that multiplies and adds")
        return order.selection(order.by_cost(options.target_macs, lambda s: costs.after(s)[1] / costs.macs, "macs"))
    if options.target_params is not None:
        return order.selection(
            order.by_cost(options.target_params, lambda s: costs.after(s)[0] / costs.params, "params")
        )
    if options.target_latency is not None:
        return order.selection(
            order.by_cost(options.target_latency, attempts.latency_left, "latency", 0.05, exchanges=0)
        )
    assert options.target_size is not None

    def size_left(selection: Selection) -> float:
        weights = analysis.weight_bytes
        return 1 - weights / source.bytes * (1 - costs.after(selection)[0] / max(costs.params, 1))

    return order.selection(order.by_cost(options.target_size / source.bytes, size_left, "size"))


def _require_prunable(source: Source, analysis: Analysis) -> None:
    if analysis.grouping.groups:
        return
    if not analysis.graph.weights():
        raise ModelError(f"nothing in '{source.name}' can be pruned: it has no weights")
    reasons = [f.reason.text for f in analysis.grouping.frozen if f.reason.text != "has a single channel"]
    ranked = sorted(set(reasons), key=lambda r: (-reasons.count(r), r))
    why = (
        f"{reasons.count(ranked[0])} of {len(reasons)} axes: {ranked[0]}"
        if ranked
        else "every axis is a single channel"
    )
    raise ModelError(f"nothing in '{source.name}' can be pruned ({why}); 'spa inspect' tells why, axis by axis")


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
    source: Source,
    analysis: Analysis,
    made: Made,
    about: dict[str, Any],
    warnings: list[str],
    feeds: Feeds,
    reference: list[Any],
    out: Path | None,
    plan_out: Path | None,
    target_latency: float | None = None,
) -> Result:
    """Measure, write what was asked for, report; whatever happens, leave nothing half-written behind."""
    try:
        warnings = [*source.warnings, *warnings]
        before: float | None = None
        after: float | None = None
        try:
            before, after = latency(target(source), str(made.staged.path), feeds, apart=source.external)
        except Exception as error:  # noqa: BLE001 - verified models run; onnxruntime's optimiser may still stumble
            warnings.append(f"latency could not be measured: {str(error).splitlines()[0][:120]}")
        if target_latency is not None and (not before or not after or after / before > target_latency + 0.05):
            raise UnreachableError(
                f"--target-latency {target_latency:g} was not confirmed end to end: {after or 0:.4g} s against "
                f"{before or 0:.4g} s; ask for less, add --round-to 8, or try again on a quieter machine"
            )
        params, macs = analysis.costs.after(made.selection)
        cut_groups = [(g, int(mask.reshape(-1, g.channels)[0].sum())) for g, mask in made.selection.groups()]
        plan = from_cut(made.work, {**about, "groups": {g.name: g.channels - kept for g, kept in cut_groups}})
        result = Result(
            source=source,
            analysis=analysis,
            plan=plan,
            before=Figures(analysis.channels, analysis.costs.params, analysis.costs.macs, source.bytes, before),
            after=Figures(analysis.channels - made.selection.removed, params, macs, made.staged.bytes, after),
            drift=drift(reference, made.outputs),
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
