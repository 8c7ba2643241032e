"""Progress on stderr, results on stdout."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import typer

from spa_cli.cli.options import print_json

if TYPE_CHECKING:
    from spa_cli.result import Result


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """A line on stderr that says what is going on, if someone is looking."""
    from spa_cli.report.tables import console

    err = console(stderr=True)
    if not err.is_terminal:
        yield lambda _: None
        return
    with err.status("starting") as status:
        yield lambda text: status.update(text)


def show_result(result: Result, json: bool, schema: str, verb: str) -> None:
    """Warnings on stderr; the table or the JSON object on stdout."""
    from spa_cli.report.json_report import prune_json
    from spa_cli.report.tables import console, prune_table

    for warning in result.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if json:
        print_json(prune_json(result, schema))
    else:
        prune_table(console(), result, verb)
