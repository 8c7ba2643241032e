"""``spa inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spa_cli.cli.command import command
from spa_cli.cli.options import Force, InputShape, Json, Model, print_json
from spa_cli.cli.shapes import parse_shapes
from spa_cli.cli.show import warn


@command()
def inspect(
    model: Model,
    json: Json = False,
    everything: Annotated[bool, typer.Option("--all", help="List every group and every reason.")] = False,
    html: Annotated[
        Path | None,
        typer.Option(help="Also write it as one HTML page, with figures (extra report).", show_default=False),
    ] = None,
    input_shape: InputShape = None,
    force: Force = False,
) -> None:
    """Show which channels depend on each other, what they cost, and why the rest is frozen."""
    from spa_cli.analysis import analyse_model
    from spa_cli.atomic import write_text
    from spa_cli.progress import stage
    from spa_cli.report.json_report import inspect_json
    from spa_cli.report.page.render import check_page
    from spa_cli.report.tables import console, inspect_table
    from spa_cli.runtime.load import load

    stage("reading the model")
    source = load(model)
    if html is not None:
        check_page(html, source, force, "--html")
    stage("finding which channels depend on each other")
    analysis = analyse_model(source, parse_shapes(input_shape))
    if html is not None:
        from spa_cli.report.page.inspect import inspect_page

        stage("measuring and drawing")
        write_text(html, inspect_page(analysis, source))
    warn(source.warnings)
    if json:
        print_json(inspect_json(analysis, source.bytes))
    else:
        inspect_table(console(), analysis, source.name, source.bytes, everything)
