"""``spa criteria``."""

from __future__ import annotations

from spa_cli.cli.app import app, guarded
from spa_cli.cli.options import Debug, Json, print_json


@app.command()
def criteria(json: Json = False, debug: Debug = False) -> None:
    """List what --method, --aggregation and --normalisation know, and what each looks at."""
    with guarded(debug):
        from spa_cli.report.criteria import criteria_json, criteria_tables
        from spa_cli.report.tables import console

        if json:
            print_json(criteria_json())
        else:
            criteria_tables(console())
