"""``spa verify``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from spa_cli.cli.command import command
from spa_cli.cli.parameters import Json, ModelFile
from spa_cli.cli.show import show, warn
from spa_cli.cli.streams import say
from spa_cli.options.arguments import JudgeArguments, LimitArguments

_OUTPUT = "Output"


@command(opens="model")
def verify(
    *,
    model: ModelFile,
    pruned: Annotated[Path, typer.Argument(help="The pruned .onnx file, or its folder.", show_default=False)],
    plan: Annotated[
        Path | None, typer.Option(help="Also compare with zeroing what this plan removes.", show_default=False)
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(help="Look at so many samples, spread over --calib (default: all).", show_default=False),
    ] = None,
    options: JudgeArguments,
    limits: LimitArguments,
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
    json: Json = False,
) -> None:
    """Check that the pruned model can take the original's place, and how far its outputs moved: a gate for CI."""
    import spa_cli
    from spa_cli.errors import SpaError
    from spa_cli.report.json_report import verify_json
    from spa_cli.report.summary import verify_table

    on_github = github if github is not None else os.environ.get("GITHUB_ACTIONS") == "true"
    try:
        found = spa_cli.verify(model, pruned, plan=plan, junit=junit, samples=samples, **options, **limits)
    except SpaError as error:
        if on_github:
            _tell_github({}, pruned, str(error))
        raise
    report = verify_json(found)
    warn(())
    if on_github:
        _tell_github(report, pruned)
    show(json, lambda: report, lambda out: verify_table(out, report))
    if not report["passed"]:
        raise typer.Exit(1)


def _tell_github(report: dict[str, Any], pruned: Path, error: str | None = None) -> None:
    """Annotations on stderr, and a page where the runner says that it wants one."""
    from spa_cli.progress import LOG
    from spa_cli.report import pipelines

    say(pipelines.workflow_commands(report, str(pruned), error))
    page = os.environ.get("GITHUB_STEP_SUMMARY")
    if page:
        try:
            with open(page, "a", encoding="utf-8") as file:
                file.write(pipelines.summary(report, pruned.name, error))
        except OSError as failed:
            LOG.warning("the job summary '%s' can't be written: %s", page, failed.strerror or failed)
