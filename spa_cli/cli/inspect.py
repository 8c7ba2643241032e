"""``spa inspect``."""

from __future__ import annotations

from typing import Annotated

import typer

from spa_cli.cli.command import command
from spa_cli.cli.options import InputShape, Json, Model, print_json
from spa_cli.cli.shapes import parse_shapes
from spa_cli.cli.show import warn


@command()
def inspect(
    model: Model,
    json: Json = False,
    everything: Annotated[bool, typer.Option("--all", help="List every group and every reason.")] = False,
    input_shape: InputShape = None,
) -> None:
    """Show which channels depend on each other, what they cost, and why the rest is frozen."""
    from spa_cli.analysis import analyse_model
    from spa_cli.graph.load import load
    from spa_cli.report.json_report import inspect_json
    from spa_cli.report.tables import console, inspect_table

    source = load(model)
    analysis = analyse_model(source, parse_shapes(input_shape))
    warn(source.warnings)
    if json:
        print_json(inspect_json(analysis, source.bytes))
    else:
        inspect_table(console(), analysis, source.name, source.bytes, everything)
