"""``spa prune``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from spa_cli.cli.command import command
from spa_cli.cli.config import one_budget
from spa_cli.cli.parameters import Engine, Force, Json, Out
from spa_cli.cli.show import show_outcomes, show_report
from spa_cli.isolation import Bounds
from spa_cli.options.arguments import PruneArguments

_OUTPUT = "Output"


@command(opens="model")
def prune(
    *,
    context: typer.Context,
    model: Annotated[
        list[Path], typer.Argument(help="The .onnx file, or several, or folders of them.", show_default=False)
    ],
    output: Out,
    options: PruneArguments,
    plan_out: Annotated[
        Path | None, typer.Option(help="Also write the plan (JSON).", rich_help_panel=_OUTPUT, show_default=False)
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Also write all there is to see as one HTML page (extra report).",
            rich_help_panel=_OUTPUT,
            show_default=False,
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="A folder that remembers results by what is in the files.",
            rich_help_panel=_OUTPUT,
            show_default=False,
        ),
    ] = None,
    json: Json = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Do everything but write.")] = False,
    force: Force = False,
    engine: Engine = "here",
    bounds: Bounds | None,
) -> None:
    """Remove the least important channels and write a smaller, verified model.

    A folder with one model beside a config.json or genai_config.json becomes such a folder, whose numbers fit.
    Several models, or a folder of them, go to a folder; --plan-out and --report are folders then, too. Each is pruned in
    a process of its own, so that one that crashes or hangs is an error like others.
    """
    from spa_cli.batch import Wanted, prune_file, prune_files
    from spa_cli.folders.prune import prune_folder_apart
    from spa_cli.folders.recognise import model_folder
    from spa_cli.options import Options

    asked = Options.of(one_budget(context, options))
    wanted = Wanted(output, plan_out, report, force, dry_run, cache)
    folder = model_folder(model[0]) if len(model) == 1 and model[0].is_dir() else None
    alone = folder is not None or (len(model) == 1 and not model[0].is_dir())
    if alone:
        wanted = replace(wanted, engine=engine)
    if folder is not None:
        show_report(prune_folder_apart(folder, asked, wanted, bounds), json, "pruned")
    elif alone:
        show_report(prune_file(model[0], asked, wanted), json, "pruned")
    else:
        show_outcomes(prune_files(model, asked, wanted, bounds, engine), json)
