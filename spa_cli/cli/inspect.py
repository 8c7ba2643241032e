"""``spa inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spa_cli.cli.command import command
from spa_cli.cli.parameters import Force, Json, ModelFile
from spa_cli.cli.show import show, warn
from spa_cli.options.arguments import InspectArguments


@command(opens="model")
def inspect(
    *,
    model: ModelFile,
    json: Json = False,
    everything: Annotated[bool, typer.Option("--all", help="List every group and every reason.")] = False,
    html: Annotated[
        Path | None,
        typer.Option(help="Also write it as one HTML page, with figures (extra report).", show_default=False),
    ] = None,
    options: InspectArguments,
    force: Force = False,
) -> None:
    """Show which channels depend on each other, what they cost, and why the rest is frozen."""
    import spa_cli
    from spa_cli.report.json_report import inspect_json
    from spa_cli.report.tables import inspect_table

    analysis = spa_cli.inspect(model, html=html, force=force, **options)
    source = analysis.source
    warn(source.warnings)
    show(
        json,
        lambda: inspect_json(analysis, source.bytes),
        lambda out: inspect_table(out, analysis, source.name, source.bytes, everything),
    )
