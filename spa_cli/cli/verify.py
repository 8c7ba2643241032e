"""``spa verify``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from spa_cli.cli import choices as c
from spa_cli.cli.command import command
from spa_cli.cli.options import InputShape, Json, Model, print_json
from spa_cli.cli.shapes import parse_shapes
from spa_cli.cli.show import warn

_GATES, _OUTPUT = "Gates", "Output"


@command()
def verify(
    model: Model,
    pruned: Annotated[Path, typer.Argument(help="The pruned .onnx file.", show_default=False)],
    plan: Annotated[
        Path | None, typer.Option(help="Also compare with zeroing what this plan removes.", show_default=False)
    ] = None,
    calib: c.Calib = None,
    mean: c.Mean = "0",
    std: c.Std = "1",
    layout: c.Layout = "auto",
    color: c.Color = "rgb",
    image_range: c.ImageRange = 1,
    tokenizer: c.Tokenizer = None,
    max_length: c.MaxLength = None,
    max_drift: Annotated[
        float | None,
        typer.Option(help="Fail above this relative L2 drift.", rich_help_panel=_GATES, show_default=False),
    ] = None,
    min_agreement: Annotated[
        float | None,
        typer.Option(help="Fail below this arg-max agreement.", rich_help_panel=_GATES, show_default=False),
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option(
            help="Fail above this file size: 500kB, 1.5MB, or 60% of the original.",
            rich_help_panel=_GATES,
            show_default=False,
        ),
    ] = None,
    max_latency_ratio: Annotated[
        float | None,
        typer.Option(
            help="Fail above this fraction of the original's latency, measured here side by side.",
            rich_help_panel=_GATES,
            show_default=False,
        ),
    ] = None,
    junit: Annotated[
        Path | None,
        typer.Option(help="Write the gates as JUnit XML.", rich_help_panel=_OUTPUT, show_default=False),
    ] = None,
    github: Annotated[
        bool | None,
        typer.Option(
            help="Annotations and a job summary for GitHub Actions (default: where GITHUB_ACTIONS is true).",
            rich_help_panel=_OUTPUT,
            show_default=False,
        ),
    ] = None,
    provider: c.Provider = "cpu",
    input_shape: InputShape = None,
    json: Json = False,
) -> None:
    """Check that the pruned model can take the original's place, and how far its outputs moved: a gate for CI."""
    arguments = locals()
    from spa_cli.errors import SpaError
    from spa_cli.report.json_report import verify_json
    from spa_cli.report.pipelines import check_junit
    from spa_cli.report.summary import verify_table
    from spa_cli.report.tables import console
    from spa_cli.verification.compare import compare
    from spa_cli.verification.gates import Limits

    on_github = github if github is not None else os.environ.get("GITHUB_ACTIONS") == "true"
    limits = Limits(max_drift, min_agreement, max_size, max_latency_ratio)
    if junit is not None:
        check_junit(junit, (model, pruned), (plan, calib))
    try:
        found = compare(model, pruned, plan, calib, parse_shapes(input_shape), limits, c.reading(arguments), provider)
        report = verify_json(found)
    except SpaError as error:
        _for_pipelines({}, pruned, junit, on_github, str(error))
        raise
    warn(())
    _for_pipelines(report, pruned, junit, on_github)
    if json:
        print_json(report)
    else:
        verify_table(console(), report)
    if not report["passed"]:
        raise typer.Exit(1)


def _for_pipelines(
    report: dict[str, Any], pruned: Path, junit: Path | None, github: bool, error: str | None = None
) -> None:
    from spa_cli.atomic import write_text
    from spa_cli.report import pipelines

    if junit is not None:
        write_text(junit, pipelines.junit(report, pruned.name, error))
    if github:
        typer.echo(pipelines.workflow_commands(report, str(pruned), error), err=True)
        page = os.environ.get("GITHUB_STEP_SUMMARY")
        if page:
            with open(page, "a", encoding="utf-8") as file:
                file.write(pipelines.summary(report, pruned.name, error))
