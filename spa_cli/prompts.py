"""What a prompt and a notebook show of results and of what goes on: the tables and bars of commands, made on demand."""

from __future__ import annotations

import sys

from spa_cli.progress import Bar, bars_by
from spa_cli.shown import tables_by


def _html(found: object) -> str:
    from spa_cli.report.notebook import html

    return html(found)


def _bar(anywhere: bool) -> Bar | None:
    if not anywhere and "IPython" not in sys.modules:
        return None
    from spa_cli.report.bar import wanted

    return wanted(anywhere)


def install() -> None:
    """Have results and progress shown from now on."""
    tables_by(_html)
    bars_by(_bar)
