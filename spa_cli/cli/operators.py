"""``spa operators``."""

from __future__ import annotations

from typing import Annotated

import typer

from spa_cli.cli.command import command
from spa_cli.cli.options import Json, print_json


@command()
def operators(
    name: Annotated[str, typer.Argument(help="Only operators whose name contains this.")] = "",
    json: Json = False,
) -> None:
    """List every operator: followed, approximate or frozen, and how or why."""
    import spa_cli
    from spa_cli.report.tables import console, operators_table

    found = spa_cli.operators(name)
    if json:
        print_json({"schema": "spa.operators/1", "operators": [o._asdict() for o in found]})
    else:
        operators_table(console(), found)
