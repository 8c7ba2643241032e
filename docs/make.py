"""Write what is generated: docs/operators.md, and the table of operators in the README."""

from __future__ import annotations

from pathlib import Path

from spa_cli.report.operators import reference, summary

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- operators: make docs -->\n", "<!-- /operators -->"


def readme(text: str) -> str:
    """The README with today's table."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{summary()}\n{END}{after}"


if __name__ == "__main__":
    (ROOT / "docs" / "operators.md").write_text(reference(), encoding="utf-8")
    path = ROOT / "README.md"
    path.write_text(readme(path.read_text(encoding="utf-8")), encoding="utf-8")
