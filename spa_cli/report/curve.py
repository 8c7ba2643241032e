"""The picture of a sweep, by matplotlib (extra ``report``): PNG, SVG, PDF or one HTML page."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from spa_cli.atomic import replacing, write_text
from spa_cli.errors import OptionError, UsageError
from spa_cli.report.page.curves import sensitivity
from spa_cli.report.page.render import render
from spa_cli.report.page.theme import (
    ACCENT,
    AFTER,
    BEFORE,
    GONE,
    WIDTH,
    Drawn,
    Number,
    drawing,
    inline,
    require,
)
from spa_cli.report.sweep import sweep_csv
from spa_cli.sweeping.run import Sweep
from spa_cli.text import one_line, shortened

SUFFIXES = (".html", ".pdf", ".png", ".svg")
_GROUPS = 15
_COINS = (("macs", "MACs"), ("latency", "latency"), ("bytes", "size"))


def check_picture(path: Path, force: bool) -> None:
    """Before any work is done: raises UsageError for a file that can't be drawn or exists, or without matplotlib."""
    if path.exists() and not force:
        raise UsageError(f"the picture '{path}' exists; use --force to draw it anew")
    if path.suffix not in SUFFIXES:
        raise OptionError(f"--picture '{path}' has to end in one of {', '.join(SUFFIXES)}")
    require()


def draw(sweep: Sweep, path: Path, force: bool = False) -> None:
    """Quality against MACs and latency, and the sensitivity of the groups; raises UsageError if it can't be written."""
    if path.suffix == ".html":
        write_text(path, _page(sweep), force=force)
        return
    with replacing(path, "picture", "name another file", force=force) as place, drawing():
        figure = _figure(sweep, 4)
        _sensitive(sweep, figure.axes[3])
        figure.savefig(place, dpi=150, format=path.suffix[1:], facecolor="white")


def _figure(sweep: Sweep, places: int) -> Any:
    """Three curves; ``places``: with a fourth place for more."""
    from matplotlib.figure import Figure

    made = [p for p in sweep.points if not p.refused]
    judged = all(p.accuracy is not None for p in made)
    language = not judged and all(p.perplexity_ratio is not None for p in made)
    said = "accuracy" if judged else "perplexity, of the original's" if language else "output drift (relative L2)"
    figure = Figure(figsize=(10, 7.5) if places == 4 else (WIDTH, 8.4), layout="constrained")
    grid = figure.subplots(2, 2) if places == 4 else figure.subplots(3, 1)
    for axes, (name, label) in zip(grid.flat, _COINS, strict=False):
        x = [getattr(p, name) for p in made]
        y = [p.accuracy if judged else p.loss for p in made]
        order = sorted(range(len(x)), key=lambda i: x[i])
        axes.plot([x[i] for i in order], [y[i] for i in order], color=BEFORE, linewidth=1.4, zorder=1)
        best = [i for i, p in enumerate(made) if p.pareto]
        axes.scatter(x, y, c=BEFORE, s=20, zorder=2)
        axes.scatter([x[i] for i in best], [y[i] for i in best], c=AFTER, s=36, zorder=3, label="not beaten")
        if judged and sweep.original.accuracy is not None:
            axes.axhline(sweep.original.accuracy, color=GONE, linestyle="--", linewidth=1, label="the original")
        axes.set_xlabel(f"{label} left (fraction of the original)", fontsize=8)
        axes.set_ylabel(said, fontsize=8)
        axes.tick_params(labelsize=8)
        axes.legend(loc="best", fontsize=8)
    if places == 4:
        figure.suptitle(f"{one_line(sweep.model)}, on {one_line(sweep.about)}", fontsize=10)
    return figure


def _sensitive(sweep: Sweep, axes: Any) -> None:
    groups = sweep.sensitivity[:_GROUPS][::-1]
    axes.barh(range(len(groups)), [s.drift or 0.0 for s in groups], color=ACCENT)
    axes.set_yticks(range(len(groups)), shortened([one_line(s.group) for s in groups], 32), fontsize=8)
    axes.set_xlabel("drift when half of the group goes, alone", fontsize=8)
    axes.set_title("most sensitive groups", fontsize=9)


def _page(sweep: Sweep) -> str:
    header, *lines = csv.reader(io.StringIO(sweep_csv(sweep)))
    label = f"Quality against MACs, latency and size at {len(sweep.points)} budgets"
    with drawing():
        svg = inline(_figure(sweep, 3), "curve", label)
    caption = "Every point is a budget; those marked green are beaten by no other."
    return render(
        "sweep.html.j2",
        sweep=sweep,
        curve=Drawn("curve", label, svg, caption),
        head=header,
        rows=[[_cell(c) for c in line] for line in lines],
        sensitivity=sensitivity(sweep.sensitivity) if sweep.sensitivity else None,
    )


def _cell(text: str) -> str | Number:
    try:
        return Number(float(text), f"{float(text):.4g}")
    except ValueError:
        return text
