"""The table of operators as people read it: on the terminal, in the README, in the documentation."""

from __future__ import annotations

from typing import NamedTuple

from spa_cli.operators import records
from spa_cli.operators.registry import APPROXIMATE, FOLLOWED, FROZEN
from spa_cli.text import first_sentence

BEHAVIOURS = (FOLLOWED, APPROXIMATE, FROZEN)
_MEANING = {
    FOLLOWED: "channels pass through; an axis it runs over, addresses or slides along stays",
    APPROXIMATE: "the same, but it measures something over an axis: removing there is not zeroing",
    FROZEN: "everything it touches stays, with the reason",
}


class Operator(NamedTuple):
    """One operator and what is done with it; ``note`` says how, or why not."""

    domain: str
    name: str
    behaviour: str
    note: str


def operators() -> list[Operator]:
    """Every operator ``spa`` knows, by domain and name."""
    found = []
    for (domain, name), record in sorted(records().items()):
        first = first_sentence(record.relate)
        note = first.removeprefix("Frozen: ").format(op=name) if record.behaviour == FROZEN else first
        found.append(Operator(domain or "ai.onnx", name, record.behaviour, note))
    return found


def summary() -> str:
    """Markdown: how many operators of each domain are followed, approximate, frozen."""
    table = operators()
    domains = sorted({o.domain for o in table})
    lines = [f"| operators of | {' | '.join(BEHAVIOURS)} |", "|---|---|---|---|"]
    for domain in domains:
        counts = [sum(o.domain == domain and o.behaviour == b for o in table) for b in BEHAVIOURS]
        lines.append(f"| `{domain}` | {' | '.join(map(str, counts))} |")
    return "\n".join(lines)


def reference() -> str:
    """Markdown: every operator by domain and behaviour; the reason for frozen ones."""
    table = operators()
    parts = ["# Operators\n\nMade by `make docs` from the rules themselves; `spa operators` prints the same.\n"]
    parts += [f"- **{b}**: {_MEANING[b]}." for b in BEHAVIOURS]
    for domain in sorted({o.domain for o in table}):
        parts.append(f"\n## `{domain}`")
        for behaviour in BEHAVIOURS:
            mine = [o for o in table if o.domain == domain and o.behaviour == behaviour]
            if not mine:
                continue
            notes: dict[str, list[str]] = {}
            for operator in mine:
                notes.setdefault(operator.note.replace(operator.name, "it"), []).append(operator.name)
            parts.append(f"\n**{behaviour}** ({len(mine)})\n")
            parts += [f"- {', '.join(f'`{n}`' for n in names)}: {note}" for note, names in notes.items()]
    return "\n".join(parts) + "\n"
