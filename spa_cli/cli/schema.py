"""``spa schema``."""

from __future__ import annotations

from typing import Annotated

import typer

from spa_cli.cli.command import command
from spa_cli.cli.options import print_json


@command()
def schema(
    name: Annotated[str, typer.Argument(help="Of what: prune, verify, plan, ... (none: list them).")] = "",
) -> None:
    """Print the JSON Schema of what --json prints, and of plans."""
    import spa_cli
    from spa_cli.report.schemas import NAMES

    if name:
        print_json(spa_cli.schema(name))
    else:
        typer.echo("\n".join(NAMES))
