"""What came of a cut, measured, and how it came about."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import onnx

from spa_cli.budget.bill import SECONDS, Bill
from spa_cli.channels.groups import Grouping
from spa_cli.devices.here import clock_of
from spa_cli.errors import VerificationError
from spa_cli.graph.model import FLOAT_TYPES
from spa_cli.plan import from_cut
from spa_cli.progress import stage
from spa_cli.request import Request
from spa_cli.result import Figures, Result
from spa_cli.runtime.said import said
from spa_cli.runtime.timing import Timing
from spa_cli.tidy.steps import LAST
from spa_cli.trial.choose import Choice, blocks_of, tied
from spa_cli.trial.prepare import Ranked
from spa_cli.trial.target import LATENCY_TOLERANCE, unmeasured
from spa_cli.trial.trials import Trial, Trials
from spa_cli.tuning.tune import Tuned
from spa_cli.verification.accuracy import Accuracy, by_command
from spa_cli.verification.drift import NOTHING_COMPARED, Drift
from spa_cli.verification.gates import Limits, check
from spa_cli.verification.judge import judge, labels_of
from spa_cli.verification.speed import Setting, settings, slower, too_long
from spa_cli.verification.subject import Subject

# of what is lost, the share of one group that is worth naming it for
_STANDS_OUT = 0.25


def measure(
    subject: Subject,
    small: Trial,
    about: dict[str, Any],
    warnings: list[str],
    out: Path | None,
    timing: Timing | None = None,
    where: str = "",
    request: Request | None = None,
    tuned: Tuned | None = None,
) -> Result:
    """Latency, drift, accuracy and costs of a verified trial; ``about``: how it came about, for the plan.

    ``where``: what is known of where its errors come from. ``request``: what was asked for, where it was pruned.
    ``tuned``: how its weights were trained.
    """
    source, analysis = subject.source, subject.analysis
    warnings = [*source.warnings, *warnings]
    run = subject.structure is None
    timings = _timings(subject, small, timing, warnings) if run else []
    drift, accuracy = _judged(subject, small, request) if run else (NOTHING_COMPARED, None)
    if not drift.resembles:
        warnings.insert(0, drift.warning(subject.judges.about, where))
    costs, selection = analysis.costs, small.selection
    params, macs = costs.after(selection)
    params -= _numbers(small.work.model) - _numbers(small.model)
    tidied = source.tidied | ({LAST: small.folded} if small.folded else {})
    not_verified = subject.structure.not_verified() if subject.structure is not None else []
    about = {name: value for name, value in about.items() if name not in ("tidy", "not_verified", "states")}
    about |= {"tidy": tidied} if tidied else {}
    about |= {"states": [state.to_json() for state in small.work.states]} if small.work.states else {}
    about |= {"not_verified": not_verified} if not_verified else {}
    groups = analysis.grouping.groups
    kept = [(groups[i], count) for i, count in sorted(selection.widths.items())]
    gone = {group.name: group.channels - count for group, count in kept}
    seconds = (timings[0].timing.before, timings[0].timing.after) if timings else (None, None)
    return Result(
        source=source,
        analysis=analysis,
        plan=from_cut(small.work, {**about, "groups": gone}),
        before=Figures(analysis.channels, costs.params, costs.macs, source.bytes, seconds[0]),
        after=Figures(analysis.channels - selection.removed, params, macs, small.staged.bytes, seconds[1]),
        drift=drift,
        accuracy=accuracy,
        samples=subject.judges.samples,
        judged_on=subject.judges.about,
        cut_groups=kept,
        timings=timings,
        tuned=tuned,
        slower=slower(subject, small.model, small.work.states, timings) if timings else "",
        not_verified=not_verified,
        warnings=warnings,
        out=out,
        model=small.model,
    )


def _timings(subject: Subject, small: Trial, timing: Timing | None, warnings: list[str]) -> list[Setting]:
    stage("measuring latency")
    found = list[Setting]()
    try:
        found += settings(subject, small.opened, timing)
    except Exception as error:  # noqa: BLE001 - verified models run; onnxruntime's optimiser may still stumble
        warnings.append(f"latency could not be measured: {said(error)}")
    if found and too_long(found[0].timing, found[0].threads):
        warnings.append("not timed on one thread, where a run may take more than a second; give --threads 1")
    return found


def _judged(subject: Subject, small: Trial, request: Request | None) -> tuple[Drift, Accuracy | None]:
    stage("comparing outputs")
    source, file = subject.source, small.staged.path
    before, after = subject.beside(small.opened)
    labels = labels_of(subject.data.test or subject.data.fit, must=False)
    output = request.focus.output if request is not None else ""
    drift, accuracy = judge(before, after, subject.judges, subject.panel, labels, output)
    if request is not None and request.options.evaluate is not None and request.options.min_accuracy is not None:
        stage("asking --eval")
        accuracy = by_command(request.options.evaluate, source, file)
    return drift, accuracy


def _numbers(model: onnx.ModelProto) -> int:
    """Floating-point numbers in initializers."""
    return sum(math.prod(t.dims) for t in model.graph.initializer if t.data_type in FLOAT_TYPES)


def require(result: Result, limits: Limits, where: str) -> None:
    """Raises VerificationError where the result does not keep what it has to."""
    for gate in check(limits, result.drift, (result.before.bytes, result.after.bytes), None):
        if not gate.passed:
            raise VerificationError(
                f"{gate.text}, on {result.judged_on}{where and '; ' + where}; ask for less, or give more samples with "
                "--calib (nothing was written)"
            )


def dearest(choice: Choice, grouping: Grouping) -> str:
    """Which group most of what is lost is expected of, "" if none stands out."""
    found = choice.menu.dearest(choice.selection.gone)
    if found is None or found[1] < _STANDS_OUT:
        return ""
    group, gone = grouping.groups[found[0]], choice.selection.gone[found[0]]
    return f"{found[1]:.0%} of the loss is expected of '{group.name}' ({gone} of its {group.channels} channels go)"


def provenance(ranked: Ranked, request: Request, choice: Choice, small: Trial) -> dict[str, Any]:
    """What the plan says of how it came about."""
    subject, options = ranked.subject, request.options
    about: dict[str, Any] = {
        "model": subject.source.name,
        "digest": subject.source.digest(),
        "method": options.method,
        "seed": options.seed,
        "input_shapes": {n: list(s) for n, s in subject.analysis.input_shapes.items()},
    }
    for name in ("aggregation", "normalisation"):
        if getattr(options, name) is not None:
            about[name] = getattr(options, name)
    about["round_to"] = options.round_to
    if options.uniform:
        about["uniform"] = True
    if whole := choice.menu.whole(choice.selection.gone):
        about["blocks"] = [subject.analysis.blocks[i].name for i in whole]
    about["multiples"] = choice.menu.multiples(choice.selection)
    predicted = _predicted(ranked, request, choice)
    if predicted is not None:
        about |= {"device": options.device, "predicted_latency": predicted}
    if options.focus:
        about["focus"] = list(options.focus)
    if ranked.curvature is not None and small.done is not None:
        about["repair"] = ranked.curvature.about(small.done)
    return about


def _predicted(ranked: Ranked, request: Request, choice: Choice) -> float | None:
    """What is left of the latency on a machine that is not at hand, as is predicted; ``None`` where it is this one."""
    if not request.elsewhere:
        return None
    analysis = ranked.subject.analysis
    clock = clock_of(analysis, ranked.subject.timed, request.options.device)
    # blocks that went whole take no time
    bill = Bill(analysis.costs, analysis.grouping, clock, blocks_of(ranked, request))
    return bill.left(SECONDS, choice.menu.vector(choice.selection.gone))


def _of_states(ranked: Ranked, request: Request) -> list[str]:
    """Of states that were to shrink and don't."""
    if request.options.shrinking is None:
        return []
    pairs = ranked.subject.analysis.state.pairs
    kept = [f"state {p.line} keeps its shape: {p.why}" for p in pairs if p.why]
    if any(not p.why for p in pairs):
        return kept
    return [
        *kept,
        f"--states shrink changes nothing: no state of '{ranked.subject.source.name}' is given back by an output; name "
        "one with --state IN=OUT",
    ]


def warnings_of(ranked: Ranked, request: Request, choice: Choice, small: Trial, trials: Trials) -> list[str]:
    """What the user should know."""
    groups, asked, timing = ranked.subject.analysis.grouping.groups, request.options.target_latency, choice.timing
    found = [*ranked.warnings, *trials.warnings]
    if choice.short:
        found.append(choice.short)
    for why, index in {why: index for index, why in reversed(ranked.unscored.items())}.items():
        many = f"{list(ranked.unscored.values()).count(why)} of {len(groups)} groups were left whole: {why}"
        found.append(f"{many} (the first is '{groups[index].name}')")
    found += [f"group '{groups[i].name}' was left whole: {why}" for i, why in choice.left_whole.items()]
    if request.options.uniform and not choice.menu.ties:
        found.append(f"--uniform changes nothing: no two groups of '{ranked.subject.source.name}' have the same role")
    found += _of_states(ranked, request)
    found += filter(None, [tied(ranked, choice.menu)])
    if small.done is not None and small.done.dropped:
        found.append(f"the repair was dropped: {small.done.dropped}")
    if ranked.subject.structure is not None and request.options.round_to == "auto" and not request.elsewhere:
        found.append(
            "widths were not chosen by the time they take, which is not known; give --round-to 8 or 16 where yours "
            "should be multiples, or --device"
        )
    if asked is not None and request.elsewhere:
        found.append(unmeasured(request.options.device))
    if timing is not None and asked is not None and abs(timing.left - asked) > LATENCY_TOLERANCE * asked:
        found.append(
            f"this machine is busy: {timing.left:.3f} of the latency is left by the median, {timing.quiet_left:.3f} by "
            "the fastest tenth of the runs; run 'spa verify' when it is idle"
        )
    return found
