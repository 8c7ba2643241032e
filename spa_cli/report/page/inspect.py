"""The page of ``spa inspect --html``."""

from __future__ import annotations

from spa_cli.analysis import Analysis
from spa_cli.graph.source import Source
from spa_cli.progress import stage
from spa_cli.report.json_report import inspect_json
from spa_cli.report.page import measure, parts
from spa_cli.report.page.layers import layers
from spa_cli.report.page.measure import Profiles
from spa_cli.report.page.render import render
from spa_cli.report.page.structure import structure
from spa_cli.runtime.first_run import first_run
from spa_cli.runtime.said import said


def inspect_page(analysis: Analysis, source: Source) -> str:
    """Groups, costs and frozen axes of a model; latency by layer, if it runs."""
    found, profiled = layers(analysis), _profiles(analysis, source)
    stage("drawing the report")
    return render(
        "inspect.html.j2",
        json=inspect_json(analysis, source.bytes),
        name=source.name,
        warnings=source.warnings,
        structure=structure(analysis) if analysis.grouping.groups else None,
        groups=parts.groups_table(analysis),
        widths=parts.widths(found, False),
        macs=parts.macs(found, False),
        latency=parts.latency(found, profiled, False),
        rest=profiled.rest(found, {n.label: n.op for n in analysis.graph.all_nodes}),
        latency_problem=profiled.problem,
        frozen=parts.frozen(analysis),
    )


def _profiles(analysis: Analysis, source: Source) -> Profiles:
    try:
        feeds, _ = first_run(source, analysis.graph, analysis.state.shapes, analysis.shapes_to_try, None)
    except Exception as error:  # noqa: BLE001 - the page says so, and is about more than latency
        why = said(error)
        return Profiles(None, None, f"Latency by layer could not be measured: {why}.")
    return measure.profiles(feeds, (source.model, source.folder), None)
