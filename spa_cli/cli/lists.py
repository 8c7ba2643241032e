"""The commands that only list: ``spa criteria``, ``spa devices``, ``spa operators`` and ``spa schema``."""

from __future__ import annotations

from typing import Annotated

import typer

from spa_cli.cli.command import command
from spa_cli.cli.parameters import Json
from spa_cli.cli.show import print_json, print_lines, show


@command()
def criteria(json: Json = False) -> None:
    """List what --method, --aggregation and --normalisation know, and what each looks at."""
    import spa_cli
    from spa_cli.report.criteria import criteria_tables

    show(json, spa_cli.criteria, criteria_tables)


@command()
def devices(
    clear: Annotated[bool, typer.Option("--clear", help="Forget what was measured here.")] = False,
    json: Json = False,
) -> None:
    """List what --device knows, with its sources, and what widths were measured to cost on this machine."""
    import spa_cli
    from spa_cli.report.devices import devices_tables
    from spa_cli.text import plural

    found = spa_cli.devices(clear=clear)
    if clear and not json:
        print_lines(f"forgot what was measured of {plural(found['forgotten'], 'model')}")
    else:
        show(json, lambda: found, lambda out: devices_tables(out, found))


@command()
def operators(
    name: Annotated[str, typer.Argument(help="Only operators whose name contains this.")] = "",
    json: Json = False,
) -> None:
    """List every operator: followed, approximate or frozen, and how or why; and whether its gradient is known."""
    import spa_cli
    from spa_cli.report.tables import operators_table

    found = spa_cli.operators(name)
    show(
        json,
        lambda: {"schema": "spa.operators/1", "operators": [o._asdict() for o in found]},
        lambda out: operators_table(out, found),
    )


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
        print_lines("\n".join(NAMES))
