"""What the documentation shows is what the repository has."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(r"```(?:python|text)\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.DOTALL)
SOURCES = [
    path.read_text(encoding="utf-8")
    for folder in ("spa_cli/operators", "tests/operators", "spa_cli/importance")
    for path in (ROOT / folder).glob("*.py")
]


def test_contributing_shows_two_rules_with_their_cases() -> None:
    assert sum("@register" in block for block in BLOCKS) == 2
    assert sum("case(" in block for block in BLOCKS) == 2
    assert sum("@criterion" in block for block in BLOCKS) == 1


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_code_in_contributing_is_that_of_the_repository(block) -> None:
    assert any(block.rstrip() in source for source in SOURCES)
