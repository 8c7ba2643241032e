"""Tables on a terminal (80 columns and up), the same rows as plain text when piped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import IO, Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from spa_cli.analysis import Analysis
from spa_cli.channels.groups import Group
from spa_cli.operators.registry import APPROXIMATE, FOLLOWED, FROZEN
from spa_cli.report.operators import Operator
from spa_cli.text import count, one_line, shorten, size


def _seen(text: Text) -> Text:
    found = text.copy()
    found.plain = one_line(text.plain)
    return found


class _Console(Console):
    """What stands in a model is shown, but does nothing: see ``one_line``. All text of all tables comes by here."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        return super().render(_seen(renderable) if isinstance(renderable, Text) else renderable, options)

    def render_str(self, *given: Any, **how: Any) -> Text:
        return _seen(super().render_str(*given, **how))

    def on_broken_pipe(self) -> None:
        """Whoever prints knows what to do; rich would leave with a code of its own."""
        raise BrokenPipeError


def console(stderr: bool = False, file: IO[str] | None = None) -> Console:
    """Colours on a terminal (unless NO_COLOR), at least 80 columns and no wrapping surprises in a pipe.

    ``file``: what is printed is recorded, with its colours, to be exported.
    """
    if file is not None:
        return _Console(file=file, record=True, highlight=False, width=100, force_terminal=True, legacy_windows=False)
    found = _Console(stderr=stderr, highlight=False, soft_wrap=False)
    if not found.is_terminal:
        found = _Console(stderr=stderr, highlight=False, width=100, no_color=True)
    return found


def new_table(out: Console, title: str) -> Table:
    """An empty table in the house's style."""
    style = box.ROUNDED if out.is_terminal and out.encoding.startswith("utf") else box.ASCII2
    return Table(title=title, title_justify="left", title_style="bold", box=style, header_style="bold", expand=False)


def operators_table(out: Console, found: list[Operator]) -> None:
    """One line an operator."""
    colour = {FOLLOWED: "green", APPROXIMATE: "yellow", FROZEN: "red"}
    table = new_table(out, f"{len(found)} operators")
    table.add_column("operator", no_wrap=True, max_width=34)
    table.add_column("behaviour", no_wrap=True)
    table.add_column("gradient", no_wrap=True)
    table.add_column("how, or why not", overflow="fold")
    for operator in found:
        name = operator.name if operator.domain == "ai.onnx" else f"{operator.domain}.{operator.name}"
        behaviour = Text(operator.behaviour, colour[operator.behaviour])
        table.add_row(Text(shorten(name, 34)), behaviour, operator.gradient, Text(operator.note.replace("``", "")))
    out.print(table)


def inspect_table(out: Console, analysis: Analysis, name: str, source_bytes: int, everything: bool) -> None:
    """Groups with what is in them and what a channel costs; then the frozen axes by reason."""
    costs = analysis.costs
    out.print(
        f"[bold]{escape(name)}[/]  {count(costs.params)} parameters, {count(costs.macs)} MACs, {size(source_bytes)}, "
        f"opset {analysis.graph.opset}, {len(analysis.graph.nodes)} nodes"
    )
    shapes = ", ".join(f"{n} {'x'.join(map(str, s)) or 'scalar'}" for n, s in analysis.input_shapes.items())
    out.print(f"[dim]costs at input {escape(shapes)}[/]", soft_wrap=True)
    groups = analysis.grouping.groups
    if groups:
        shown = len(groups) if everything else min(len(groups), 40)
        table = new_table(out, f"{len(groups)} groups, {analysis.channels} removable channels")
        width = max(18, min(out.width - 52, 44))
        table.add_column("group", no_wrap=True, max_width=width)
        table.add_column("channels", justify="right", no_wrap=True)
        table.add_column("axes", justify="right", no_wrap=True)
        table.add_column("params/ch", justify="right", no_wrap=True)
        table.add_column("MACs/ch", justify="right", no_wrap=True)
        table.add_column("", no_wrap=True)
        for index, group in enumerate(groups[:shown]):
            params, macs = costs.per_channel(index, group)
            table.add_row(
                Text(shorten(group.name, width)),
                _channels(group),
                str(len(group.members)),
                count(params),
                count(macs),
                "[green]exact[/]" if group.exact else "[yellow]approx[/]",
            )
        out.print(table)
        if shown < len(groups):
            out.print(f"[dim]... and {len(groups) - shown} more groups; --all lists them, --json has every member[/]")
        _legend(out, groups)
    _frozen(out, analysis, everything)


def _channels(group: Group) -> str:
    return f"{len(group.blocks)} x {group.channels}" if len(group.blocks) else str(group.channels)


def _legend(out: Console, groups: list[Group]) -> None:
    if any(len(g.blocks) for g in groups):
        out.print("[dim]b x n: each of b blocks (heads, groups) may keep different channels, all the same number[/]")
    if any("/blocks" in g.name or "/inside" in g.name for g in groups):
        out.print("[dim]/blocks: whole blocks; /inside: channels within each; see --only '*/blocks'[/]")
    reasons = Counter(g.inexact.text for g in groups if g.inexact)
    for text, times in reasons.most_common(3):
        out.print(f"[dim]approx ({times}x): {escape(text)}[/]")


def _frozen(out: Console, analysis: Analysis, everything: bool) -> None:
    frozen = [f for f in analysis.grouping.frozen if f.reason.text != "has a single channel"]
    if not frozen:
        return
    table = new_table(out, f"{len(frozen)} frozen axes of weights")
    table.add_column("why", overflow="fold")
    table.add_column("axes", justify="right", no_wrap=True)
    table.add_column("for example", no_wrap=True, max_width=30)
    by_reason: dict[str, list[str]] = {}
    for f in frozen:
        by_reason.setdefault(f.reason.text, []).append(f"{shorten(f.tensor, 24)}[{f.axis}]")
    ranked = sorted(by_reason.items(), key=lambda item: -len(item[1]))
    shown = ranked if everything else ranked[:12]
    for text, places in shown:
        table.add_row(Text(text), str(len(places)), Text(places[0]))
    out.print(table)
    if len(shown) < len(ranked):
        out.print(f"[dim]... and {len(ranked) - len(shown)} more reasons; --all lists them[/]")
