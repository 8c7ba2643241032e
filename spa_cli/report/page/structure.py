"""The groups drawn over the network: layers from top to bottom, which feeds which, and what is cut together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from spa_cli.analysis import Analysis
from spa_cli.channels.groups import Group
from spa_cli.channels.state import CONSUMER, PASS_THROUGH, PRODUCER
from spa_cli.graph.model import Graph
from spa_cli.report.page.theme import (
    AFTER,
    BAND,
    BEFORE,
    GONE,
    INK,
    MUTED,
    PAPER,
    WIDTH,
    Drawn,
    Number,
    drawing,
    inline,
)
from spa_cli.text import one_line, plural, shortened

# inches: a row, a lane, the arcs, a character of a name at most; how many of those
_ROW, _LANE, _ARCS, _LETTER = 0.19, 0.3, 1.15, 0.068
_NAME, _TALL = 36, 40
_TOP = 2.6
_STRONGER = {PASS_THROUGH: 0, CONSUMER: 1, PRODUCER: 2}
_MARKS: dict[str, dict[str, Any]] = {
    PRODUCER: {"marker": "s", "s": 24},
    PASS_THROUGH: {"marker": "_", "s": 34},
    CONSUMER: {"marker": "o", "s": 24},
}


@dataclass(frozen=True)
class Lane:
    """A group: its number in the table, the rows it touches with what they are to it, the column it is drawn in."""

    number: int
    exact: bool
    marks: dict[int, str]
    column: int


def structure(analysis: Analysis) -> Drawn:
    """Nodes that hold weights of any group, in network order; one lane a group."""
    groups = analysis.grouping.groups
    touched = {m.node for g in groups for m in g.members}
    names = list(dict.fromkeys(n.label for n in analysis.graph.all_nodes if n.label in touched))
    rows = {name: at for at, name in enumerate(names)}
    lanes = _lanes(groups, rows)
    label = f"{plural(len(groups), 'group')} of coupled channels over {plural(len(names), 'node')}, in network order"
    with drawing():
        svg = inline(_figure(names, _arcs(analysis.graph, rows), lanes), "structure", label)
    table: list[list[str | Number]] = [
        [
            Number(lane.number, str(lane.number)),
            groups[lane.number - 1].name,
            *(_named(lane, names, role) for role in _MARKS),
        ]
        for lane in sorted(lanes, key=lambda lane: lane.number)
    ]
    caption = (
        "From top to bottom the nodes whose weights are cut, in the order in which they run; the arcs on the left say "
        "which feeds which. Every lane on the right is a group: the channels that leave its producers, and all that "
        "has to go with them. Lanes of groups that never meet share a column; the numbers are those of the table."
    )
    head = ["number", "group", "made by", "passes through", "read by"]
    return Drawn("structure", label, svg, caption, head, table, tall=len(names) > _TALL)


def _named(lane: Lane, names: list[str], role: str) -> str:
    return ", ".join(names[at] for at in sorted(lane.marks) if lane.marks[at] == role) or "-"


def _lanes(groups: list[Group], rows: dict[str, int]) -> list[Lane]:
    """Every group in the first column that is free where it begins."""
    spans = []
    for number, group in enumerate(groups, 1):
        marks: dict[int, str] = {}
        for member in group.members:
            at = rows.get(member.node)
            if at is not None and _STRONGER[member.role] >= _STRONGER[marks.get(at, PASS_THROUGH)]:
                marks[at] = member.role
        if marks:
            spans.append((min(marks), number, group.exact, marks))
    ends: list[int] = []
    lanes = []
    for start, number, exact, marks in sorted(spans, key=lambda s: s[:2]):
        # a row of its own for the number above the first mark
        column = next((c for c, end in enumerate(ends) if end < start - 1), len(ends))
        ends[column:] = [max(marks), *ends[column + 1 :]]
        lanes.append(Lane(number, exact, marks, column))
    return lanes


def _arcs(graph: Graph, rows: dict[str, int]) -> list[tuple[int, int]]:
    """(from, to) between nodes with rows, through any others but those that only pass sizes on."""
    source: dict[str, frozenset[int]] = {}
    arcs: set[tuple[int, int]] = set()
    for node in graph.all_nodes:
        inner = (o for body in node.bodies for o in body.outputs)
        found = frozenset[int]().union(*(source.get(name, frozenset()) for name in (*node.inputs, *inner)))
        own = rows.get(node.label)
        if own is not None:
            arcs |= {(start, own) for start in found if start < own}
            found = frozenset({own})
        if node.op in ("Shape", "Size"):
            found = frozenset()
        source.update(dict.fromkeys(node.outputs, found))
    return sorted(arcs)


def _figure(names: list[str], arcs: list[tuple[int, int]], lanes: list[Lane]) -> Any:
    from matplotlib.figure import Figure

    columns = 1 + max((lane.column for lane in lanes), default=0)
    shown = shortened([one_line(name) for name in names], _NAME)
    beside = 0.25 + _LETTER * max(map(len, shown), default=0)
    spine = beside + _ARCS
    width = max(WIDTH, spine + 0.5 + columns * _LANE)
    height = (_TOP + len(names)) * _ROW
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(len(names) - 0.3, -_TOP + 0.3)
    # few lanes spread over the room there is
    pitch = min(0.9, (width - spine - 0.5) / columns)
    for at, name in enumerate(shown):
        if at % 2 == 0:
            axes.axhspan(at - 0.5, at + 0.5, color=BAND, linewidth=0, zorder=0)
        axes.text(beside - 0.1, at, name, ha="right", va="center", fontsize=7.5)
    _draw_arcs(axes, arcs, len(names), spine)
    for lane in lanes:
        x = spine + 0.4 + lane.column * pitch
        colour = AFTER if lane.exact else GONE
        first, last = min(lane.marks), max(lane.marks)
        axes.plot([x, x], [first, last], color=colour, linewidth=1.4, zorder=2, solid_capstyle="round")
        axes.text(x, first - 0.78, str(lane.number), ha="center", va="center", fontsize=6.5, color=MUTED, zorder=4)
        for role, style in _MARKS.items():
            places = [row for row, own in lane.marks.items() if own == role]
            fill = PAPER if role == CONSUMER else colour
            axes.scatter([x] * len(places), places, c=fill, edgecolors=colour, linewidths=1.1, zorder=3, **style)
    _legend(figure)
    return figure


def _draw_arcs(axes: Any, arcs: list[tuple[int, int]], rows: int, spine: float) -> None:
    from matplotlib.collections import PathCollection
    from matplotlib.path import Path

    axes.scatter([spine] * rows, range(rows), s=9, c=INK, linewidths=0, zorder=3)
    codes = [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4]
    paths = []
    for start, end in arcs:
        # neighbours are joined by a line; the farther, the wider the arc
        reach = 0.0 if end - start == 1 else min(_ARCS - 0.15, 0.14 + 0.055 * (end - start)) / 0.75
        x = spine - reach
        paths.append(Path([(spine, start), (x, start), (x, end), (spine, end)], codes))
    axes.add_collection(PathCollection(paths, facecolors="none", edgecolors=BEFORE, linewidths=1.1, zorder=1))


def _legend(figure: Any) -> None:
    from matplotlib.lines import Line2D

    def entry(text: str, colour: str, marker: str = "", fill: str = INK) -> Any:
        line: Any = "none" if marker else "-"
        style = {"marker": marker, "markerfacecolor": fill, "markersize": 5, "linestyle": line}
        return Line2D([], [], color=colour, label=text, **style)

    entries = [
        entry("makes the channels", INK, "s"),
        entry("passes them through", INK, "_"),
        entry("reads them", INK, "o", PAPER),
        entry("exact", AFTER),
        entry("approximate", GONE),
    ]
    figure.legend(handles=entries, loc="upper left", ncols=5, fontsize=7.5, handlelength=1.2, columnspacing=1.2)
