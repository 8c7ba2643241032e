"""What the documentation shows is what the repository has."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from spa_cli.operators import Record

ROOT = Path(__file__).resolve().parents[2]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(?:python|text)\n(.*?)```", CONTRIBUTING, re.DOTALL)
SOURCES = [
    path.read_text(encoding="utf-8")
    for folder in ("spa_cli/operators", "tests/operators", "spa_cli/importance", "spa_cli/adjoints")
    for path in (ROOT / folder).glob("*.py")
]


def test_contributing_shows_every_kind_of_operator_with_its_case() -> None:
    assert sum("@register" in block for block in BLOCKS) == 3
    assert sum("@labelled" in block for block in BLOCKS) == 1
    assert sum("case(" in block or "assert_groups(" in block for block in BLOCKS) == 4
    assert sum("@criterion" in block for block in BLOCKS) == 1


def test_contributing_tells_all_that_a_record_may_say() -> None:
    section = CONTRIBUTING.partition("## Adding an operator")[2]
    names = [f.name for f in fields(Record) if f.name != "relate"]
    assert [name for name in names if f"| `{name}=" not in section] == []


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_code_in_contributing_is_that_of_the_repository(block) -> None:
    assert any(block.rstrip() in source for source in SOURCES)
