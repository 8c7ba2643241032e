"""A sweep as people and programs read it: a table, JSON, CSV."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from spa_cli.report.tables import new_table, put, short
from spa_cli.sweeping.points import Point
from spa_cli.sweeping.run import Sweep
from spa_cli.text import plural

_GROUPS = 10


def sweep_json(sweep: Sweep) -> dict[str, Any]:
    """``spa.sweep/1``."""
    return {
        "schema": "spa.sweep/1",
        "input": sweep.model,
        "by": sweep.coin.removeprefix("target_"),
        "measured_on": sweep.about,
        "original": {"accuracy": sweep.original.accuracy},
        "points": [{"asked": p.asked, "refused": p.refused} if p.refused else asdict(p) for p in sweep.points],
        "sensitivity": [asdict(s) for s in sweep.sensitivity],
        "warnings": sweep.warnings,
    }


def sweep_csv(sweep: Sweep) -> str:
    """One line a point."""
    names = ["asked", "macs", "params", "bytes", "latency", "drift", "agreement", "accuracy"]
    names += ["perplexity", "perplexity_ratio", "pareto", "refused"]
    # of several outputs each has its own column
    outputs = list(dict.fromkeys(name for point in sweep.points for name in point.kept))
    own = outputs if len(outputs) > 1 else []
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*names, "ruined", *(f"agreement of {name}" for name in own)])
    for point in sweep.points:
        known = ("asked", "refused") if point.refused else (*names, "ruined")
        row = [getattr(point, n) if n in known else "" for n in (*names, "ruined")]
        writer.writerow([*row, *(point.kept.get(name, "") for name in own)])
    return text.getvalue()


def sweep_table(out: Console, sweep: Sweep) -> None:
    """The curve, then the most sensitive groups."""
    table = new_table(out, escape(f"{sweep.model} by {sweep.coin.removeprefix('target_')}, fractions of the original"))
    judged = any(p.accuracy is not None for p in sweep.points)
    language = any(p.perplexity_ratio is not None for p in sweep.points)
    for column in (
        "asked",
        "MACs",
        "params",
        "size",
        "latency",
        "drift",
        "agrees",
        *(["accuracy"] if judged else []),
        *(["perplexity"] if language else []),
        "",
    ):
        table.add_column(column, justify="right", no_wrap=True)
    for point in sweep.points:
        if point.refused:
            table.add_row(f"{point.asked:g}", *["-"] * (6 + judged + language), "refused")
            continue
        best = "[green]best[/]" if point.pareto else ""
        cells = [f"{v:.3f}" for v in (point.macs, point.params, point.bytes, point.latency, point.drift)]
        cells.append("-" if point.agreement is None else f"{point.agreement:.1%}")
        cells += [_accuracy(point)] if judged else []
        cells += [_perplexity(point)] if language else []
        table.add_row(f"{point.asked:g}", *cells, "[red]ruined[/]" if point.ruined else best)
    put(out, table, spare=("params", "size", "latency", "drift"))
    if sweep.original.accuracy is not None:
        out.print(f"the original's accuracy is {sweep.original.accuracy:.4g}")
    for point in sweep.points:
        if point.refused:
            out.print(f"[yellow]{point.asked:g}: {escape(point.refused)}[/]", soft_wrap=not out.is_terminal)
    out.print(f"drift is relative L2, on {escape(sweep.about)}")
    shown = sweep.sensitivity[:_GROUPS]
    groups = new_table(out, f"the {len(shown)} most sensitive of {plural(len(sweep.sensitivity), 'group')}")
    width = max(18, out.width - (48 if out.width >= 66 else 20))
    groups.add_column("half of the channels of", no_wrap=True)
    for column in ("drift", "MACs saved", "params saved"):
        groups.add_column(column, justify="right", no_wrap=True)
    for name, each in zip(short(out, [each.group for each in shown], width), shown, strict=True):
        moved = "-" if each.drift is None else f"{each.drift:.3f}"
        groups.add_row(Text(name), moved, f"{each.macs:.1%}", f"{each.params:.1%}")
    put(out, groups, spare=("params saved", "MACs saved"))


def _perplexity(point: Point) -> str:
    if point.perplexity_ratio is None:
        return "-"
    own = "" if point.perplexity is None else f"{point.perplexity:.4g}, "
    return f"{own}{point.perplexity_ratio:.3g}x"


def _accuracy(point: Point) -> str:
    return "-" if point.accuracy is None else f"{point.accuracy:.4g}"
