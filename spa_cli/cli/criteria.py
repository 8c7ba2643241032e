"""``spa criteria``."""

from __future__ import annotations

from spa_cli.cli.command import command
from spa_cli.cli.options import Json, print_json


@command()
def criteria(json: Json = False) -> None:
    """List what --method, --aggregation and --normalisation know, and what each looks at."""
    from spa_cli.report.criteria import criteria_json, criteria_tables
    from spa_cli.report.tables import console

    if json:
        print_json(criteria_json())
    else:
        criteria_tables(console())
