"""Results on stdout, warnings on stderr."""

from __future__ import annotations

import json as encoder
import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import typer

from spa_cli.cli.streams import printing, say

if TYPE_CHECKING:
    from rich.console import Console

    from spa_cli.result import Outcome


def warn(warnings: Iterable[str]) -> None:
    """The work is done: warnings go where the user listens, and results may follow."""
    from spa_cli.progress import LOG, stage

    stage("")
    for text in warnings:
        LOG.warning("%s", text)


def show_report(report: dict[str, Any], json: bool, verb: str) -> None:
    """Warnings on stderr; the table, which begins with the gravest, or the JSON object on stdout."""
    from spa_cli.progress import LOG, SHOWN
    from spa_cli.report.summary import prune_table

    leads = not json and report["drift"]["resembles"] is False
    warn(report["warnings"][1:] if leads else report["warnings"])
    if leads:
        # the table begins with it; a log file has no table
        LOG.warning("%s", report["warnings"][0], extra={SHOWN: True})
    show(json, lambda: report, lambda out: prune_table(out, report, verb))


def show_outcomes(outcomes: Iterable[Outcome], json: bool) -> None:
    """Errors on stderr as they come, all results at the end; leaves with the highest exit code."""
    from spa_cli.report.summary import batch_json, batch_table
    from spa_cli.text import one_line

    found = []
    for outcome in outcomes:
        found.append(outcome)
        if outcome.report is not None:
            warn(f"{outcome.input}: {text}" for text in outcome.report["warnings"])
        else:
            warn(())
            say(one_line(f"error: {outcome.input}: {outcome.error}"))
    show(json, lambda: batch_json(found), lambda out: batch_table(out, found))
    code = max(o.exit_code for o in found)
    if code:
        raise typer.Exit(code)


def show(json: bool, value: Callable[[], dict[str, Any]], table: Callable[[Console], None]) -> None:
    """One object on stdout with ``--json``, else a table; raises UsageError if it can't be printed."""
    if json:
        print_json(value())
        return
    from spa_cli.report.tables import console

    with printing():
        table(console())


def print_json(value: dict[str, Any]) -> None:
    """One object on stdout, in ASCII: no line of it is a command to a terminal or a runner of CI.

    Raises UsageError if it can't be printed.
    """
    # two of these in a row begin a command, wherever they stand
    print_lines(encoder.dumps(_finite(value), indent=2, allow_nan=False).replace("##", "#\\u0023"))


def print_lines(text: str) -> None:
    """Text on stdout; raises UsageError if it can't be printed."""
    with printing():
        typer.echo(text)


def _finite(value: Any) -> Any:
    """JSON has no NaN: a number that isn't one becomes null."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
