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
    from spa_cli.errors import UsageError
    from spa_cli.report import schemas

    if not name:
        typer.echo("\n".join(schemas.NAMES))
        return
    wanted = name.removeprefix("spa.").removesuffix("/1")
    if wanted not in schemas.NAMES:
        raise UsageError(f"there is no schema '{name}'; there are {', '.join(schemas.NAMES)}")
    print_json(schemas.schema(wanted))
