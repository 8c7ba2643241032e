"""``spa inspect``."""

from __future__ import annotations

from typing import Annotated

import typer

from spa_cli.cli.app import app, guarded
from spa_cli.cli.options import Debug, InputShape, Json, Model, parse_shapes, print_json


@app.command()
def inspect(
    model: Model,
    json: Json = False,
    everything: Annotated[bool, typer.Option("--all", help="List every group and every reason.")] = False,
    input_shape: InputShape = None,
    debug: Debug = False,
) -> None:
    """Show which channels depend on each other, what they cost, and why the rest is frozen."""
    with guarded(debug):
        from spa_cli.analysis import analyse_model
        from spa_cli.graph.load import load
        from spa_cli.report.json_report import inspect_json
        from spa_cli.report.tables import console, inspect_table

        source = load(model)
        analysis = analyse_model(source, parse_shapes(input_shape))
        for warning in source.warnings:
            typer.echo(f"warning: {warning}", err=True)
        if json:
            print_json(inspect_json(analysis, source.bytes))
        else:
            inspect_table(console(), analysis, source.name, source.bytes, everything)
