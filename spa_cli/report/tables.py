"""Tables on a terminal (80 columns and up), the same rows as plain text when piped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import IO, Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from spa_cli.analysis import Analysis
from spa_cli.channels.groups import Group
from spa_cli.operators.registry import APPROXIMATE, FOLLOWED, FROZEN
from spa_cli.report.operators import Operator
from spa_cli.report.states import states_lines
from spa_cli.text import count, one_line, plural, shortened, size

_NO_LIMIT = 100_000
# into how many columns a sentence is wrapped at the least
_SENTENCE = 32
# what is printed as HTML, and its columns: a cell of a notebook has room for them
_PAGE = 80
PAGE = '<pre style="line-height:1.2;white-space:pre;overflow-x:auto;font-family:monospace">{code}</pre>'


def _seen(text: Text) -> Text:
    found = text.copy()
    found.plain = one_line(text.plain)
    return found


class _Console(Console):
    """What stands in a model is shown, but does nothing: see ``one_line``. All text of all tables comes by here."""

    def __init__(self, words: Callable[[str], str] = str, **how: Any) -> None:
        super().__init__(**how)
        self._words = words

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        return super().render(_seen(renderable) if isinstance(renderable, Text) else renderable, options)

    def render_str(self, text: str, **how: Any) -> Text:
        return _seen(super().render_str(self._words(text), **how))

    def on_broken_pipe(self) -> None:
        """Whoever prints knows what to do; rich would leave with a code of its own."""
        raise BrokenPipeError


def console(stderr: bool = False, file: IO[str] | None = None, words: Callable[[str], str] = str) -> Console:
    """Colours on a terminal (unless NO_COLOR), at least 80 columns and no wrapping surprises in a pipe.

    ``file``: what is printed is recorded, with its colours, to be exported; in such ``words``, but for names.
    """
    # in a notebook rich would show what is printed, wherever it is printed to
    how: dict[str, Any] = {"highlight": False, "force_jupyter": False}
    if file is not None:
        return _Console(words, file=file, record=True, width=_PAGE, force_terminal=True, legacy_windows=False, **how)
    found = _Console(stderr=stderr, soft_wrap=False, **how)
    if not found.is_terminal:
        found = _Console(stderr=stderr, width=80, no_color=True, **how)
    return found


def short(out: Console, names: Sequence[str], width: int) -> list[str]:
    """Names as they fit a column of a terminal; in a pipe, where others look for them, the whole of them."""
    return shortened(names, width) if out.is_terminal else list(names)


def put(out: Console, table: Table, spare: Sequence[str] = ()) -> None:
    """Print a table, and above it what it is called; in a pipe as wide as its names are.

    ``spare``: columns that go, in this order, until it fits the terminal.
    """
    # rich would wrap it where the table ends
    title, table.title = table.title or "", None
    out.print(title, style="bold", soft_wrap=not out.is_terminal)
    width = out.width
    if out.is_terminal:
        for header in spare:
            if _needed(out, table) > width:
                table.columns = [column for column in table.columns if column.header != header]
    else:
        out.width = max(width, _needed(out, table))
    out.print(table)
    out.width = width


def _needed(out: Console, table: Table) -> int:
    """Columns that it takes if no name is cut and no sentence wrapped into too few."""
    wrapped = [column for column in table.columns if not column.no_wrap]
    for column in wrapped:
        column.max_width = _SENTENCE
    needed = Measurement.get(out, out.options.update(max_width=_NO_LIMIT), table).maximum
    for column in wrapped:
        column.max_width = None
    return needed


def new_table(out: Console, title: str) -> Table:
    """An empty table in the house's style."""
    style = box.ROUNDED if out.is_terminal and out.encoding.startswith("utf") else box.ASCII2
    return Table(title=title, box=style, header_style="bold", expand=False)


def operators_table(out: Console, found: list[Operator]) -> None:
    """One line an operator."""
    colour = {FOLLOWED: "green", APPROXIMATE: "yellow", FROZEN: "red"}
    table = new_table(out, f"{len(found)} operators")
    table.add_column("operator", no_wrap=True)
    table.add_column("behaviour", no_wrap=True)
    table.add_column("gradient", no_wrap=True)
    table.add_column("how, or why not", overflow="fold")
    full = [o.name if o.domain == "ai.onnx" else f"{o.domain}.{o.name}" for o in found]
    for name, operator in zip(short(out, full, min(34, max(12, out.width - 22))), found, strict=True):
        behaviour = Text(operator.behaviour, colour[operator.behaviour])
        table.add_row(Text(name), behaviour, operator.gradient, Text(operator.note.replace("``", "")))
    put(out, table, spare=("gradient", "how, or why not"))


def inspect_table(out: Console, analysis: Analysis, name: str, source_bytes: int, everything: bool) -> None:
    """Groups with what is in them and what a channel costs; then the frozen axes by reason."""
    costs = analysis.costs
    out.print(f"[bold]{escape(name)}[/]", soft_wrap=not out.is_terminal)
    out.print(
        f"{count(costs.params)} parameters, {count(costs.macs)} MACs, {size(source_bytes)}, "
        f"opset {analysis.graph.opset}, {plural(len(analysis.graph.nodes), 'node')}",
        soft_wrap=not out.is_terminal,
    )
    shapes = ", ".join(f"{n} {'x'.join(map(str, s)) or 'scalar'}" for n, s in analysis.input_shapes.items())
    out.print(f"[dim]costs at input {escape(shapes)}[/]")
    groups = analysis.grouping.groups
    if groups:
        shown = len(groups) if everything else min(len(groups), 40)
        table = new_table(out, f"{plural(len(groups), 'group')}, {plural(analysis.channels, 'removable channel')}")
        # a narrow terminal has room for what a channel costs, or for names
        wide = out.width >= 70
        width = max(18, min(out.width - (52 if wide else 22), 44))
        for name in ("group", "channels", *(("axes", "params/ch", "MACs/ch") if wide else ()), ""):
            table.add_column(name, justify="left" if name in ("group", "") else "right", no_wrap=True)
        if everything and not out.is_terminal:
            table.add_column("weight", no_wrap=True)
        names = short(out, [group.name for group in groups[:shown]], width)
        for index, group in enumerate(groups[:shown]):
            params, macs = costs.per_channel(index, group)
            cells = (str(len(group.members)), count(params), count(macs)) if wide else ()
            kind = "[green]exact[/]" if group.exact else "[yellow]approx[/]"
            weight = (Text(group.tensor),) if everything and not out.is_terminal else ()
            table.add_row(Text(names[index]), _channels(group), *cells, kind, *weight)
        put(out, table)
        if shown < len(groups):
            out.print(f"[dim]... and {len(groups) - shown} more groups; --all lists them, --json has every member[/]")
        _legend(out, groups)
    _frozen(out, analysis, everything)
    for line in states_lines(analysis):
        out.print(escape(line))


def _channels(group: Group) -> str:
    return f"{len(group.blocks)} x {group.channels}" if len(group.blocks) else str(group.channels)


def _legend(out: Console, groups: list[Group]) -> None:
    if any(len(g.blocks) for g in groups):
        out.print("[dim]b x n: b blocks that may keep different channels, the same number each[/]")
    if any(g.name.endswith("/heads") for g in groups):
        out.print("[dim]heads: whole heads; v, qk: dimensions of each; see --only '*/heads'[/]")
    if any("/blocks" in g.name or "/inside" in g.name for g in groups):
        out.print("[dim]/blocks: whole blocks; /inside: channels within each; see --only '*/blocks'[/]")
    reasons = Counter(g.inexact.text for g in groups if g.inexact)
    for text, times in reasons.most_common(3):
        out.print(f"[dim]approx ({times}x): {escape(text)}[/]")


def _frozen(out: Console, analysis: Analysis, everything: bool) -> None:
    frozen = [f for f in analysis.grouping.frozen if f.counts]
    if not frozen:
        return
    table = new_table(out, f"{plural(len(frozen), 'frozen axis', 'frozen axes')} of weights")
    table.add_column("why", overflow="fold")
    table.add_column("axes", justify="right", no_wrap=True)
    table.add_column("for example", no_wrap=True)
    by_reason: dict[str, list[str]] = {}
    for name, f in zip(short(out, [f.tensor for f in frozen], 24), frozen, strict=True):
        by_reason.setdefault(f.reason.text, []).append(f"{name}[{f.axis}]")
    ranked = sorted(by_reason.items(), key=lambda item: -len(item[1]))
    shown = ranked if everything else ranked[:12]
    for text, places in shown:
        table.add_row(Text(text), str(len(places)), Text(places[0]))
    put(out, table, spare=("for example",))
    if len(shown) < len(ranked):
        out.print(f"[dim]... and {len(ranked) - len(shown)} more reasons; --all lists them[/]")
