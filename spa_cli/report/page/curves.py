"""Figures of quality: what removals lose, sensitive groups, drift against what is left, by how much outputs moved."""

from __future__ import annotations

import numpy as np

from spa_cli.graph.model import Array
from spa_cli.report.page.theme import (
    ACCENT,
    AFTER,
    BEFORE,
    GONE,
    INK,
    PAPER,
    WIDTH,
    Drawn,
    Number,
    axis_on_top,
    canvas,
    drawing,
    inline,
)
from spa_cli.sweeping.points import Sensitivity
from spa_cli.text import count, one_line, plural, shortened

# marks a group has at most, groups that are drawn at most
_MARKS, _GROUPS, _SENSITIVE = 48, 160, 30
_NAME, _TALL = 34, 40
# below this ratio of the largest to the least, powers of ten alone label too little
_DECADES = 300
# inches of a figure without names, which fits a phone as it is
_NARROW = 5.0
# values of which each is shown where it is, and what is gathered at either end of more
_SINGLE, _TAIL = 1000, 0.005
Strip = tuple[str, Array, int]


def importance(strips: list[Strip], per: str) -> Drawn:
    """``strips``: (group, what each removal loses in the order in which they would go, how many went)."""
    shown = strips[:_GROUPS]
    label = f"What each channel's removal loses, for {plural(len(strips), 'group')}; removed channels are marked"
    positive = np.concatenate([[np.inf], *(s[s > 0] for _, s, _ in shown)]).min()
    logarithmic = bool(np.isfinite(positive)) and not any((s < 0).any() for _, s, _ in shown)
    from matplotlib.ticker import LogLocator

    with drawing():
        figure, axes = canvas(0.75 + 0.2 * max(len(shown), 2), WIDTH)
        for colour, marker, name, kept in ((GONE, "x", "removed", False), (AFTER, "o", "kept", True)):
            x, y = [], []
            for place, (_, losses, gone) in enumerate(shown):
                part = losses[gone:] if kept else losses[:gone]
                picked = part[np.unique(np.linspace(0, len(part) - 1, min(len(part), _MARKS)).astype(int))]
                x += list(np.maximum(picked, positive) if logarithmic else picked)
                y += [place] * len(picked)
            style = {"linewidths": 0.9} if marker == "x" else {"linewidths": 0, "alpha": 0.55}
            axes.scatter(x, y, s=11, c=colour, marker=marker, label=name, **style)
        if logarithmic:
            axes.set_xscale("log")
            if max(float(s.max()) for _, s, _ in shown) < _DECADES * positive:
                axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            # the usual labels are formulas, which a page can't show
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("e-0", "e-"))
            axes.xaxis.set_minor_formatter(lambda *_: "")
        axes.set_yticks(range(len(shown)), shortened([one_line(n) for n, _, _ in shown], _NAME), fontsize=8)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.tick_params("y", length=0)
        axes.tick_params("x", labelsize=8)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(per, fontsize=8)
        if len(shown) > _TALL:
            axis_on_top(axes)
        figure.legend(loc="outside upper left", ncols=2, fontsize=8)
        svg = inline(figure, "importance", label)
    rows: list[list[str | Number]] = []
    for name, losses, gone in strips:
        quarters = [float(np.quantile(losses, q)) for q in (0, 0.5, 1)]
        rows.append([name, Number(len(losses), str(len(losses))), Number(gone, str(gone)), *map(_short, quarters)])
    picked_from = " (evenly picked where there are many)" if _many(shown) else ""
    caption = (
        f"One row a group, in network order; one mark a channel{picked_from}. Channels go from the left, in all groups "
        "at once, as far as the budget asks."
    )
    head = ["group", "channels", "removed", "least", "median", "most"]
    return Drawn("importance", label, svg, caption, head, rows, tall=len(shown) > _TALL)


def _many(strips: list[Strip]) -> bool:
    return any(len(losses) > 2 * _MARKS for _, losses, _ in strips)


def _short(value: float) -> Number:
    return Number(value, f"{value:.3g}")


def sensitivity(found: list[Sensitivity]) -> Drawn:
    """Groups by how far the outputs move when half of each goes, alone."""
    known = [(s, s.drift) for s in found if s.drift is not None]
    shown = known[:_SENSITIVE]
    label = f"Output drift when half of a group goes, alone: {plural(len(known), 'group')}, the most sensitive first"
    with drawing():
        figure, axes = canvas(0.6 + 0.22 * max(len(shown), 2), WIDTH)
        axes.barh(range(len(shown)), [d for _, d in shown], height=0.6, color=ACCENT)
        most = max((d for _, d in shown), default=0.0) or 1.0
        for place, (_, drift) in enumerate(shown):
            axes.text(drift + 0.012 * most, place, f"{drift:.3g}", va="center", fontsize=8, color=INK)
        axes.set_yticks(range(len(shown)), shortened([one_line(s.group) for s, _ in shown], _NAME), fontsize=8)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_xlim(0, most * 1.12)
        axes.tick_params("y", length=0)
        axes.tick_params("x", labelsize=8)
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("output drift (relative L2)", fontsize=8)
        svg = inline(figure, "sensitivity", label)
    rows: list[list[str | Number]] = [
        [
            s.group,
            Number(s.channels, str(s.channels)),
            "-" if s.drift is None else _short(s.drift),
            Number(s.macs, f"{s.macs:.1%}"),
            Number(s.params, f"{s.params:.1%}"),
        ]
        for s in found
    ]
    caption = "The least important half of one group goes, nothing else, and nothing is repaired."
    if len(shown) < len(known):
        caption += f" Drawn are the {len(shown)} most sensitive of {len(known)}; the table has all."
    head = ["half of the channels of", "channels", "drift", "MACs saved", "parameters saved"]
    return Drawn("sensitivity", label, svg, caption, head, rows)


def trade(curve: list[tuple[float, float]], here: tuple[float, float], coin: str, repaired: bool) -> Drawn:
    """Drift against what is left: sliced only, and this model."""
    label = f"Output drift against {coin} left: {plural(len(curve), 'budget')}, sliced only, and this model"
    line = sorted([*curve, (1.0, 0.0)])
    with drawing():
        figure, axes = canvas(3.3, _NARROW)
        axes.plot([x for x, _ in line], [y for _, y in line], color=BEFORE, linewidth=1.6, zorder=2)
        axes.scatter(
            *zip(*line, strict=True), s=26, c=PAPER, edgecolors=INK, linewidths=1.2, zorder=3, label="sliced only"
        )
        name = "this model, repaired" if repaired else "this model"
        axes.scatter([here[0]], [here[1]], s=90, c=AFTER, marker="D", zorder=4, label=name)
        axes.vlines(here[0], 0, here[1], color=AFTER, linewidth=0.8, linestyle=":", zorder=1)
        axes.set_xlim(1.03, 0)
        axes.set_ylim(0, 1.12 * max(y for _, y in [*line, here]) or 1)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.set_xlabel(f"{coin} left", fontsize=8)
        axes.set_ylabel("output drift (relative L2)", fontsize=8)
        axes.tick_params(labelsize=8)
        figure.legend(loc="outside upper left", ncols=2, fontsize=8)
        svg = inline(figure, "trade", label)
    points = [("the original", 1.0, 0.0), *(("sliced only", *p) for p in sorted(curve, reverse=True)), (name, *here)]
    rows: list[list[str | Number]] = [[what, Number(x, f"{x:.1%}"), _short(y)] for what, x, y in points]
    caption = "Cuts by the same scores, larger models on the left."
    if repaired:
        caption += " The distance between the line and the diamond is what the repair wins back."
    return Drawn("trade", label, svg, caption, ["model", f"{coin} left", "drift"], rows, fits=True)


def moved(differences: Array, samples: str) -> Drawn:
    """``differences``: of every output value, pruned less original, relative to the spread of its output."""
    many = len(differences) > _SINGLE
    inside = np.clip(differences, *np.quantile(differences, [_TAIL, 1 - _TAIL])) if many else differences
    reach = max(float(np.abs(inside).max()), 1e-9)
    counts, edges = np.histogram(inside, bins=41, range=(-reach, reach))
    label = f"By how much {len(differences)} output values moved, relative to the spread of their output"
    with drawing():
        figure, axes = canvas(2.7, _NARROW)
        axes.bar(edges[:-1], counts / counts.sum(), width=np.diff(edges) * 0.92, align="edge", color=AFTER)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_xlim(-reach * 1.05, reach * 1.05)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.set_xlabel("moved by, in standard deviations of the original output", fontsize=8)
        axes.set_ylabel("output values", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(axis="x", visible=False)
        svg = inline(figure, "moved", label)
    size = np.abs(differences)
    rows: list[list[str | Number]] = [
        [f"{share:.0%} of the values moved at most", _short(float(np.quantile(size, share)))]
        for share in (0.5, 0.9, 0.99, 1)
    ]
    caption = f"{count(len(differences))} values, on {samples}."
    if many:
        caption += f" The outermost bars hold the {_TAIL:.1%} at either end, however far out."
    return Drawn("moved", label, svg, caption, ["", "standard deviations"], rows, fits=True)
