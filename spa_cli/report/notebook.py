"""The tables of the commands as HTML, for notebooks."""

from __future__ import annotations

import io
from collections.abc import Callable

from rich.console import Console
from rich.markup import escape

from spa_cli.analysis import Analysis
from spa_cli.options.wording import in_python
from spa_cli.report.json_report import prune_json, verify_json
from spa_cli.report.summary import prune_table, verify_table
from spa_cli.report.sweep import sweep_table
from spa_cli.report.tables import PAGE, console, inspect_table
from spa_cli.report.tune import tune_json, tune_table
from spa_cli.report.weights import weights_table
from spa_cli.result import Result
from spa_cli.sweeping.run import Sweep
from spa_cli.tuning.result import TuneResult
from spa_cli.verification.compare import Comparison
from spa_cli.weights.carry import Carried


def html(found: object) -> str:
    """The table of a result, in Python's words, and its warnings, which no terminal shows here. Nothing in it is markup
    but what is ours: rich escapes what it is given.
    """
    out = console(file=io.StringIO(), words=in_python)
    _printing(found)(out)
    # the table begins with what ruined it
    leads = isinstance(found, Result) and found.drift.resembles is False
    for text in _warnings(found)[leads:]:
        out.print(f"[yellow]warning:[/] {escape(text)}")
    return out.export_html(code_format=PAGE, inline_styles=True)


def _warnings(found: object) -> list[str]:
    match found:
        case Analysis():
            return found.source.warnings
        case Result() | Sweep() | TuneResult() | Carried():
            return found.warnings
    return []


def _printing(found: object) -> Callable[[Console], None]:
    match found:
        case Result():
            return lambda out: prune_table(out, prune_json(found, "spa.prune/1"), "pruned")
        case Analysis():
            source = found.source
            return lambda out: inspect_table(out, found, source.name, source.bytes, everything=False)
        case Comparison():
            return lambda out: verify_table(out, verify_json(found))
        case Sweep():
            return lambda out: sweep_table(out, found)
        case TuneResult():
            return lambda out: tune_table(out, tune_json(found))
    # of all that have a table only this is left
    assert isinstance(found, Carried)
    return lambda out: weights_table(out, found)
