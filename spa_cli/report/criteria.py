"""The tables of ``spa criteria``, from the registries themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from spa_cli.importance.aggregation import AGGREGATIONS
from spa_cli.importance.criteria import CRITERIA
from spa_cli.importance.normalisation import NORMALISATIONS
from spa_cli.report.tables import new_table, put
from spa_cli.text import summary_of


def criteria_json() -> dict[str, Any]:
    """``spa.criteria/1``."""
    return {
        "schema": "spa.criteria/1",
        "criteria": [
            {
                "name": c.name,
                "summary": c.summary,
                "needs": c.needs,
                "aggregation": c.aggregation or None,
                "normalisation": c.normalisation,
            }
            for c in CRITERIA.values()
        ],
        "aggregations": [{"name": n, "summary": summary_of(f)} for n, f in AGGREGATIONS.items()],
        "normalisations": [{"name": n, "summary": summary_of(f)} for n, f in NORMALISATIONS.items()],
    }


def criteria_tables(out: Console) -> None:
    """Criteria with their defaults; aggregations; normalisations."""
    found = new_table(out, "criteria (--method), alone or added up: l1+2*wanda")
    for column in ("name", "looks at", "by default"):
        found.add_column(column, no_wrap=True)
    found.add_column("a channel's score", overflow="fold")
    for c in CRITERIA.values():
        default = f"{c.aggregation or '-'}, {c.normalisation}"
        found.add_row(c.name, c.needs, default, Text(c.summary))
    put(out, found, spare=("by default", "looks at"))
    _functions(out, "aggregations (--aggregation): from a channel's members to one score", AGGREGATIONS)
    _functions(out, "normalisations (--normalisation): between groups", NORMALISATIONS)


def _functions(out: Console, title: str, functions: Mapping[str, Callable[..., Any]]) -> None:
    found = new_table(out, title)
    found.add_column("name", no_wrap=True)
    found.add_column("meaning", overflow="fold")
    for name, function in functions.items():
        found.add_row(name, Text(summary_of(function)))
    put(out, found)
