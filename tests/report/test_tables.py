"""Tables and what stands above them."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console
from rich.text import Text

from spa_cli.report.tables import console, new_table, put

TITLE = "pruned a_name_that_is_wider_than_the_table_below_it.onnx"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_title_is_as_wide_as_it_is(terminal) -> None:
    out = Console(file=io.StringIO(), width=80, force_terminal=terminal, no_color=True)
    table = new_table(out, TITLE)
    table.add_column("a")
    table.add_row("1")
    put(out, table)
    lines = re.sub(r"\x1b\[\d*m", "", out.file.getvalue()).splitlines()
    assert lines[0] == TITLE
    assert max(map(len, lines[1:])) < 20


def test_in_a_pipe_a_title_is_one_line_however_long() -> None:
    out = Console(file=io.StringIO(), width=80)
    put(out, new_table(out, "x" * 200))
    assert out.file.getvalue().splitlines()[0] == "x" * 200


def test_a_console_that_records_shows_nothing_elsewhere(monkeypatch) -> None:
    """In a notebook rich shows what is printed into a file."""
    shown = []
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setattr("rich.jupyter.display", lambda *given: shown.append(given))
    out = console(file=io.StringIO(), words=lambda text: text.replace("--", ""))
    out.print("--only [b]all[/b]")
    out.print(Text("--only"))
    assert out.export_text() == "only all\n--only\n"
    assert shown == []


@pytest.mark.parametrize("name", ["a", "a" * 90])
def test_in_a_pipe_names_are_whole_and_sentences_are_wrapped(name) -> None:
    out = Console(file=io.StringIO(), width=80)
    table = new_table(out, "t")
    table.add_column("why")
    table.add_column("name", no_wrap=True)
    table.add_row("a sentence that is longer " * 5, name)
    put(out, table)
    lines = [line.rstrip() for line in out.file.getvalue().splitlines()]
    assert max(map(len, lines)) == (80 if len(name) == 1 else 90 + 32 + 7)
    assert any(name in line for line in lines)


def test_columns_go_where_a_terminal_is_too_narrow() -> None:
    def headers(width: int) -> list[str]:
        out = Console(file=io.StringIO(), width=width, force_terminal=True, no_color=True)
        table = new_table(out, "t")
        for header in ("name", "size", "speed"):
            table.add_column(header, no_wrap=True)
        table.add_row("a" * 20, "b" * 20, "c" * 20)
        put(out, table, spare=("speed", "size"))
        lines = re.sub(r"\x1b\[\d*m", "", out.file.getvalue()).splitlines()
        assert max(map(len, lines)) <= width
        assert "\N{HORIZONTAL ELLIPSIS}" not in out.file.getvalue()
        return re.findall(r"\w+", lines[2])

    assert [headers(width) for width in (70, 69, 47, 46)] == [
        ["name", "size", "speed"],
        *[["name", "size"]] * 2,
        ["name"],
    ]
