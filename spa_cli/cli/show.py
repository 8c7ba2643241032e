"""Results on stdout, warnings on stderr."""

from __future__ import annotations

import json as encoder
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from spa_cli.result import Outcome


def warn(warnings: Iterable[str]) -> None:
    """The work is done: warnings go where the user listens, and results may follow."""
    from spa_cli.progress import LOG, stage

    stage("")
    for text in warnings:
        LOG.warning("%s", text)


def show_report(report: dict[str, Any], json: bool, verb: str) -> None:
    """Warnings on stderr; the table, which begins with the gravest, or the JSON object on stdout."""
    from spa_cli.progress import LOG
    from spa_cli.report.summary import prune_table
    from spa_cli.report.tables import console

    leads = not json and report["drift"]["resembles"] is False
    warn(report["warnings"][1:] if leads else report["warnings"])
    if leads:
        # the table begins with it; a log file has no table
        LOG.info("%s", report["warnings"][0])
    if json:
        print_json(report)
    else:
        prune_table(console(), report, verb)


def show_outcomes(outcomes: Iterable[Outcome], json: bool) -> None:
    """Errors on stderr as they come, all results at the end; leaves with the highest exit code."""
    from spa_cli.report.summary import batch_json, batch_table
    from spa_cli.report.tables import console
    from spa_cli.text import one_line

    found = []
    try:
        for outcome in outcomes:
            found.append(outcome)
            if outcome.report is not None:
                warn(f"{outcome.input}: {text}" for text in outcome.report["warnings"])
            else:
                warn(())
                typer.echo(one_line(f"error: {outcome.input}: {outcome.error}"), err=True)
    except KeyboardInterrupt:
        typer.echo(f"interrupted; {len(found)} models were finished before", err=True)
        raise typer.Exit(130) from None
    if json:
        print_json(batch_json(found))
    else:
        batch_table(console(), found)
    code = max(o.exit_code for o in found)
    if code:
        raise typer.Exit(code)


def print_json(value: dict[str, Any]) -> None:
    """One object on stdout."""
    typer.echo(encoder.dumps(_finite(value), indent=2, allow_nan=False))


def _finite(value: Any) -> Any:
    """JSON has no NaN: a number that isn't one becomes null."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
