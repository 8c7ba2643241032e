"""The picture of a sweep, by matplotlib (``pip install 'spa-cli[plot]'``): PNG, SVG, PDF or one HTML page."""

from __future__ import annotations

import csv
import html
import io
import os
from pathlib import Path
from typing import Any

from spa_cli.errors import UsageError
from spa_cli.graph.save import write_text
from spa_cli.report.sweep import sweep_csv
from spa_cli.report.text import shorten
from spa_cli.sweeping.run import Sweep

SUFFIXES = (".html", ".pdf", ".png", ".svg")
_GROUPS = 15
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
figure {{ margin: 1rem 0; background: #fff; border-radius: .5rem; }} svg {{ width: 100%; height: auto; }}
.scroll {{ overflow-x: auto; }} table {{ border-collapse: collapse; }}
th, td {{ padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #8884; }}
</style></head><body><main><h1>{title}</h1><p>{about}</p>
<figure role="img" aria-label="{label}">{svg}</figure>
<div class="scroll"><table>{table}</table></div></main></body></html>
"""


def check_picture(path: Path, force: bool) -> None:
    """Before any work is done: raises UsageError for a file that can't be drawn or exists, or without matplotlib."""
    if path.exists() and not force:
        raise UsageError(f"the picture '{path}' exists; use --force to replace it")
    if path.suffix not in SUFFIXES:
        raise UsageError(f"--picture '{path}' has to end in one of {', '.join(SUFFIXES)}")
    _pyplot()


def draw(sweep: Sweep, path: Path) -> None:
    """Quality against MACs and latency, and the sensitivity of the groups; raises UsageError if it can't be written."""
    figure = _figure(sweep)
    if path.suffix == ".html":
        write_text(path, _page(sweep, _svg(figure)))
        return
    temporary = path.with_name(f".spa-{path.name}")
    try:
        figure.savefig(temporary, dpi=150, format=path.suffix[1:])
        os.replace(temporary, path)
    except OSError as error:
        raise UsageError(f"the picture '{path}' can't be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _pyplot() -> Any:
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("a picture needs matplotlib; install it by pip install 'spa-cli[plot]'") from error
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "spa", "font.size": 9})
    return Figure


def _figure(sweep: Sweep) -> Any:
    made = [p for p in sweep.points if not p.refused]
    judged = all(p.accuracy is not None for p in made)
    figure = _pyplot()(figsize=(10, 7.5), layout="constrained")
    (first, second), (third, fourth) = figure.subplots(2, 2)
    for axes, name, label in (
        (first, "macs", "MACs"),
        (second, "latency", "latency"),
        (third, "bytes", "size"),
    ):
        x = [getattr(p, name) for p in made]
        y = [p.accuracy if judged else p.drift for p in made]
        order = sorted(range(len(x)), key=lambda i: x[i])
        axes.plot([x[i] for i in order], [y[i] for i in order], color="#999999", linewidth=1, zorder=1)
        best = [i for i, p in enumerate(made) if p.pareto]
        axes.scatter(x, y, color="#999999", s=20, zorder=2)
        axes.scatter([x[i] for i in best], [y[i] for i in best], color="#0b6e4f", s=32, zorder=3, label="not beaten")
        if judged and sweep.original.accuracy is not None:
            axes.axhline(sweep.original.accuracy, color="#c1440e", linestyle="--", linewidth=1, label="the original")
        axes.set_xlabel(f"{label} left (fraction of the original)")
        axes.set_ylabel("accuracy" if judged else "output drift (relative L2)")
        axes.grid(alpha=0.3)
        axes.legend(loc="best", frameon=False)
    groups = sweep.sensitivity[:_GROUPS][::-1]
    places = range(len(groups))
    fourth.barh(places, [s.drift or 0.0 for s in groups], color="#3a6ea5")
    fourth.set_yticks(places, [shorten(s.group, 32) for s in groups], parse_math=False)
    fourth.set_xlabel("drift when half of the group goes, alone")
    fourth.set_title("most sensitive groups", fontsize=9)
    figure.suptitle(f"{sweep.model}, on {sweep.about}", fontsize=10, parse_math=False)
    return figure


def _svg(figure: Any) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def _page(sweep: Sweep, svg: str) -> str:
    header, *lines = csv.reader(io.StringIO(sweep_csv(sweep)))
    cells = [f"<tr>{''.join(f'<td>{html.escape(_short(c))}</td>' for c in line)}</tr>" for line in lines]
    head = "".join(f'<th scope="col">{name}</th>' for name in header)
    return _PAGE.format(
        title=html.escape(f"spa sweep of {sweep.model}"),
        about=html.escape(f"Fractions of the original; drift is relative L2, on {sweep.about}."),
        label="Quality against MACs, latency and size, and the sensitivity of the groups; the table has the numbers",
        svg=svg,
        table=f"<thead><tr>{head}</tr></thead><tbody>{''.join(cells)}</tbody>",
    )


def _short(cell: str) -> str:
    try:
        return f"{float(cell):.4g}"
    except ValueError:
        return cell
