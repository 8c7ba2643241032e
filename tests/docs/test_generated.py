"""What is generated is what its script would write today (if not: make docs)."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import typer

from spa_cli.cli.app import commands

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("docs_make", ROOT / "docs/make.py")
make = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(make)
MADE = make.made()


def test_all_that_is_generated() -> None:
    documents, code = {"README.md", "docs/cli.md", "docs/operators.md"}, {"spa_cli/options/arguments.py"}
    assert {str(p.relative_to(ROOT)) for p in MADE} == documents | code


@pytest.mark.parametrize("path", MADE, ids=lambda p: p.name)
def test_generated_files_are_up_to_date(path) -> None:
    assert path.read_text(encoding="utf-8") == MADE[path], "run 'make docs'"


def test_every_option_is_in_the_reference() -> None:
    text = MADE[ROOT / "docs/cli.md"]
    for name, command in typer.main.get_command(commands()).commands.items():
        own = text.partition(f"\n## `spa {name}`\n")[2].partition("\n## ")[0]
        common = text.partition("\n## Options of every command\n")[2].partition("\n## ")[0]
        for param in command.params:
            for flag in param.opts if param.param_type_name == "option" else ():
                assert f"| `{flag}" in own + common or f", `{flag}" in own + common, (name, flag)
    assert "| `--calib-samples N` | Calibration samples to use at most. | `512` |" in text
    assert "`spa prune MODEL... -o PATH [OPTIONS]`" in text
