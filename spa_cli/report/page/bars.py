"""Bars by layer: what was there before, and over it what is there now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spa_cli.report.page.render import percent
from spa_cli.report.page.theme import (
    AFTER,
    BEFORE,
    INK,
    MUTED,
    WIDTH,
    Drawn,
    Number,
    axis_on_top,
    canvas,
    drawing,
    inline,
)
from spa_cli.text import one_line, shortened

# inches a bar takes, and those of the axis and the legend together
_ROW, _REST = 0.22, 0.75
# characters of a name beside its bar, and bars that are drawn at once
_NAME, _MOST = 34, 160
_TALL = 40
Show = Callable[[float], str]
Bar = tuple[str, float, float | None]


def before_and_after(
    key: str, bars: list[Bar], show: Show, unit: str, label: str, caption: str, what: str = "layer"
) -> Drawn:
    """``bars``: (name, before, after); after is ``None`` throughout where there is only one model to show.

    Where there are too many, the largest are drawn, still in their order; the table always has all.
    """
    drawn = bars
    if len(bars) > _MOST:
        least = sorted((max(b[1], b[2] or 0) for b in bars), reverse=True)[_MOST - 1]
        drawn = [b for b in bars if max(b[1], b[2] or 0) >= least][:_MOST]
        caption += f" Drawn are the {len(drawn)} largest of {len(bars)}; the table has all."
    with drawing():
        svg = inline(_figure(drawn, show, unit), key, label)
    return Drawn(key, label, svg, caption, *_table(bars, show, what), tall=len(drawn) > _TALL)


def _figure(bars: list[Bar], show: Show, unit: str) -> Any:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    figure, axes = canvas(_REST + _ROW * max(len(bars), 2), WIDTH)
    places = range(len(bars))
    both = any(after is not None for _, _, after in bars)
    name = {"label": "before"} if both else {}
    axes.barh(places, [b for _, b, _ in bars], height=0.72, color=BEFORE if both else AFTER, **name)
    if both:
        axes.barh(places, [a or 0 for _, _, a in bars], height=0.36, color=AFTER, label="after")
    most = max([max(b, a or 0) for _, b, a in bars], default=1) or 1
    for place, (_, before, after) in enumerate(bars):
        same = after is None or after == before
        text = show(before) if same else f"{show(before)} → {show(after or 0)}"
        end = max(before, after or 0) + 0.012 * most
        axes.text(end, place, text, va="center", color=MUTED if same and both else INK, fontsize=8)
    axes.set_yticks(places, shortened([one_line(n) for n, _, _ in bars], _NAME), fontsize=8)
    axes.tick_params("y", length=0)
    axes.tick_params("x", labelsize=8)
    axes.set_ylim(len(bars) - 0.4, -0.6)
    # room for the text at the end of the longest bar
    axes.set_xlim(0, most * 1.26)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: show(value)))
    axes.set_xlabel(unit, fontsize=8)
    axes.grid(axis="y", visible=False)
    if len(bars) > _TALL:
        axis_on_top(axes)
    axes.spines["left"].set_visible(False)
    if both:
        figure.legend(loc="outside upper left", ncols=2, fontsize=8)
    return figure


def _table(bars: list[Bar], show: Show, what: str) -> tuple[list[str], list[list[str | Number]]]:
    if all(after is None for _, _, after in bars):
        return [what, "value"], [[n, Number(b, show(b))] for n, b, _ in bars]
    rows: list[list[str | Number]] = []
    for name, before, after in bars:
        left = after or 0
        rows.append([name, Number(before, show(before)), Number(left, show(left)), percent(before, left)])
    return [what, "before", "after", "change"], rows
