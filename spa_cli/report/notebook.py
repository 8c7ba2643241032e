"""The tables of the commands as HTML, for notebooks."""

from __future__ import annotations

import io
from collections.abc import Callable

from rich.console import Console

from spa_cli.analysis import Analysis
from spa_cli.report.json_report import prune_json, verify_json
from spa_cli.report.summary import prune_table, verify_table
from spa_cli.report.sweep import sweep_table
from spa_cli.report.tables import console, inspect_table
from spa_cli.report.tune import tune_json, tune_table
from spa_cli.report.weights import weights_table
from spa_cli.result import Result
from spa_cli.sweeping.run import Sweep
from spa_cli.tuning.result import TuneResult
from spa_cli.verification.compare import Comparison
from spa_cli.weights.carry import Carried

_PAGE = '<pre style="line-height:1.2;overflow-x:auto;font-family:monospace">{code}</pre>'


def html(found: object) -> str:
    """The table of a result. Nothing in it is markup but what is ours: rich escapes what it is given."""
    out = console(file=io.StringIO())
    _printing(found)(out)
    return out.export_html(code_format=_PAGE, inline_styles=True)


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
