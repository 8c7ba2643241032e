"""``spa sweep``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spa_cli.cli.command import command
from spa_cli.cli.parameters import Engine, Force, Json, ModelFile
from spa_cli.cli.show import show, warn
from spa_cli.options import POINTS
from spa_cli.options.arguments import SweepArguments


@command(kept="what was found is in the folder, run it again to go on", opens="model")
def sweep(
    *,
    model: ModelFile,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="A folder for sweep.json, sweep.csv and what is kept.", show_default=False),
    ],
    by: Annotated[str, typer.Option(help="Budgets in macs, params, ratio or latency.")] = "macs",
    points: Annotated[str, typer.Option(help="Budgets to try, as for --target-macs (--ratio, ...).")] = ",".join(
        map(str, POINTS)
    ),
    picture: Annotated[
        list[Path] | None,
        typer.Option(help="Also draw it: a .png, .svg, .pdf or .html file (extra report).", show_default=False),
    ] = None,
    keep_models: Annotated[bool, typer.Option("--keep-models", help="Keep the model of every point.")] = False,
    options: SweepArguments,
    json: Json = False,
    force: Force = False,
    engine: Engine = "here",
) -> None:
    """Try many budgets: the curve of quality against cost, and how sensitive each group is. Goes on if interrupted."""
    import spa_cli
    from spa_cli.report.sweep import sweep_json, sweep_table

    found = spa_cli.sweep(
        model,
        output,
        by=by,
        points=points,
        picture=picture or (),
        keep_models=keep_models,
        force=force,
        engine=engine,
        **options,
    )
    warn(found.warnings)
    show(json, lambda: sweep_json(found), lambda out: sweep_table(out, found))
