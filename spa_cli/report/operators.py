"""The table of operators as people read it: on the terminal, in the README, in the documentation."""

from __future__ import annotations

from typing import NamedTuple

from spa_cli.adjoints.expand import is_written_out
from spa_cli.adjoints.table import of_operator
from spa_cli.operators import records
from spa_cli.operators.registry import APPROXIMATE, FOLLOWED, FROZEN
from spa_cli.text import first_sentence

BEHAVIOURS = (FOLLOWED, APPROXIMATE, FROZEN)
_MEANING = {
    FOLLOWED: "channels pass through; an axis it runs over, addresses or slides along stays",
    APPROXIMATE: "the same, but it measures something over an axis: removing there is not zeroing",
    FROZEN: "everything it touches stays, with the reason",
}


_GRADIENTS = {
    "known": "gradients go back through it",
    "zero": "it has none: steps, indices, shapes",
    "": "criteria by gradients leave what lies behind it whole",
}


class Operator(NamedTuple):
    """One operator and what is done with it; ``note`` says how, or why not.

    ``gradient``: "known", "zero" where its derivative is, or "" where it is not known.
    """

    domain: str
    name: str
    behaviour: str
    note: str
    gradient: str


def operators() -> list[Operator]:
    """Every operator ``spa`` knows, by domain and name."""
    found = []
    for (domain, name), record in sorted(records().items()):
        first = first_sentence(record.relate)
        note = first.removeprefix("Frozen: ").format(op=name) if record.behaviour == FROZEN else first
        found.append(Operator(domain or "ai.onnx", name, record.behaviour, note, gradient(domain, name)))
    return found


def gradient(domain: str, name: str) -> str:
    """Whether gradients are known of an operator, as ``Operator`` has it."""
    record = of_operator(domain, name)
    if is_written_out(domain, name) or (record is not None and record.rule is not None):
        return "known"
    return "zero" if record is not None and not record.reason else ""


def summary() -> str:
    """Markdown: how many operators of each domain are followed, approximate, frozen; how many have gradients."""
    table = operators()
    domains = sorted({o.domain for o in table})
    lines = [f"| operators of | {' | '.join(BEHAVIOURS)} | with gradients |", "|---|---|---|---|---|"]
    for domain in domains:
        mine = [o for o in table if o.domain == domain]
        counts = [*(sum(o.behaviour == b for o in mine) for b in BEHAVIOURS), sum(bool(o.gradient) for o in mine)]
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
        parts.append("\n**gradients**\n")
        for known, meaning in _GRADIENTS.items():
            names = [o.name for o in table if o.domain == domain and o.gradient == known and o.behaviour != FROZEN]
            if names:
                parts.append(f"- {known or 'not known'} ({meaning}): {', '.join(f'`{n}`' for n in names)}.")
    return "\n".join(parts) + "\n"
