"""The page of ``spa prune --report``."""

from __future__ import annotations

from typing import Any

from spa_cli.options import Options
from spa_cli.progress import stage
from spa_cli.report.json_report import prune_json
from spa_cli.report.page import measure, parts
from spa_cli.report.page.curves import importance, moved, sensitivity, trade
from spa_cli.report.page.layers import layers
from spa_cli.report.page.pictures import pictures
from spa_cli.report.page.render import render
from spa_cli.report.page.structure import structure
from spa_cli.report.page.training import curve
from spa_cli.report.summary import repaired
from spa_cli.report.tune import tuned_lines
from spa_cli.request import Request
from spa_cli.result import Result
from spa_cli.text import widths_text
from spa_cli.tidy.steps import told
from spa_cli.trial.choose import Choice
from spa_cli.trial.prepare import Ranked
from spa_cli.trial.trials import Trial


def prune_page(result: Result, small: Trial, ranked: Ranked, choice: Choice, request: Request) -> str:
    """Everything there is to see of a pruning; what can't be measured is a sentence on the page."""
    subject, selection = ranked.subject, choice.selection
    analysis, source = result.analysis, result.source
    found = layers(analysis, selection)
    # weights in files of their own lie beside the model, which is not in its place yet
    beside = str(small.staged.path.parent) if source.external else ""
    profiled = measure.profiles(subject.timed, (source.model, source.folder), (result.model, beside), small.work.states)
    quality = measure.quality(ranked, choice, request)
    stage("drawing the report")
    coin = "MACs" if analysis.costs.macs else "parameters"
    here = (analysis.costs.left(selection), result.drift.relative_l2)
    differences = measure.differences(subject.reference, small.outputs or [])
    samples = "the first of these samples"
    report, points = prune_json(result, "spa.prune/1"), [] if result.tuned is None else result.tuned.training.curve
    groups, gone = analysis.grouping.groups, selection.gone
    strips = [(groups[i].name, choice.menu.priority(i), gone.get(i, 0)) for i in choice.menu.eligible]
    per = "loss of the removal" if request.recipe.only_obspa else "score of the removed channel"
    ops = {n.label: n.op for n in analysis.graph.all_nodes}
    return render(
        "prune.html.j2",
        json=report,
        result=result,
        how=_how(result, request.options),
        widths=parts.widths(found, True),
        macs=parts.macs(found, True),
        latency=parts.latency(found, profiled, True),
        rest=profiled.rest(found, ops),
        latency_problem=profiled.problem,
        importance=importance(strips, per),
        unranked=len(groups) - len(strips),
        sensitivity=sensitivity(quality.sensitivities) if quality.sensitivities else None,
        trade=trade(quality.curve, here, coin, ranked.curvature is not None) if quality.curve else None,
        problems=quality.problems,
        training=curve(points) if len(points) > 1 else None,
        trained=tuned_lines(report["tuned"]) if report["tuned"] else [],
        samples=pictures(subject.judges, request.reading.color),
        moved=moved(differences, samples) if len(differences) else None,
        structure=structure(analysis),
        groups=parts.groups_table(analysis, selection),
        frozen=parts.frozen(analysis),
    )


def _how(result: Result, options: Options) -> list[tuple[str, str]]:
    """How the model came about, in words."""
    about = result.plan.about
    budgets = (f"--{name.replace('_', '-')} {asked}" for name, asked in options.budgets.items())
    found: list[tuple[str, Any]] = [
        ("budget", " ".join(budgets)),
        ("method", options.method),
        ("aggregation", options.aggregation),
        ("normalisation", options.normalisation),
        ("focus", " ".join(options.focus)),
        ("only", " ".join(options.only)),
        ("ignore", " ".join(options.ignore)),
        ("widths", widths_text(about["multiples"])),
        ("tidied", told(about.get("tidy", {}))),
        ("repair", _repair(about.get("repair"))),
        ("calibration data", (about.get("repair") or {}).get("calibration") or ""),
        ("drift was measured on", result.judged_on),
        (
            "input shapes",
            ", ".join(f"{n} {'x'.join(map(str, s)) or 'scalar'}" for n, s in about["input_shapes"].items()),
        ),
        ("seed", options.seed),
        ("digest of the original", about["digest"]),
    ]
    return [(name, str(text)) for name, text in found if text not in (None, "")]


def _repair(repair: dict[str, Any] | None) -> str:
    return "none" if repair is None else ", ".join(repaired(repair))
