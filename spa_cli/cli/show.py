"""Results on stdout, warnings on stderr."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from spa_cli.cli.options import print_json

if TYPE_CHECKING:
    from spa_cli.result import Result


def warn(warnings: Iterable[str]) -> None:
    """The work is done: warnings go where the user listens, and results may follow."""
    from spa_cli.progress import LOG, stage

    stage("")
    for text in warnings:
        LOG.warning("%s", text)


def show_result(result: Result, json: bool, schema: str, verb: str) -> None:
    """Warnings on stderr; the table or the JSON object on stdout."""
    from spa_cli.report.json_report import prune_json
    from spa_cli.report.tables import console, prune_table

    warn(result.warnings)
    if json:
        print_json(prune_json(result, schema))
    else:
        prune_table(console(), result, verb)
