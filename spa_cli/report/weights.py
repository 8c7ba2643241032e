"""What ``spa apply --weights`` prints."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from spa_cli.report.tables import new_table, put, short
from spa_cli.text import count, plural
from spa_cli.weights.carry import Carried

_MOST_ROWS = 20


def weights_table(out: Console, result: Carried) -> None:
    """The tensors that were cut with what they are in the model; then the figures."""
    owners: dict[str, list[str]] = {}
    for name, keys in result.matched.items():
        for key in keys:
            owners.setdefault(key, []).append(name)
    width = max(18, (out.width - 48) // 2)
    table = new_table(out, escape(f"applied the plan to {result.source}"))
    for column in ("tensor", "in the model"):
        table.add_column(column, no_wrap=True)
    table.add_column("by", no_wrap=True)
    for column in ("before", "after"):
        table.add_column(column, justify="right", no_wrap=True)
    shown = list(result.shapes.items())[:_MOST_ROWS]
    short_keys = short(out, [key for key, _ in shown], width)
    for (key, (before, after)), short_key in zip(shown, short_keys, strict=True):
        names = owners.get(key, [])
        more = f" +{len(names) - 1}" if len(names) > 1 else ""
        table.add_row(
            Text(short_key),
            Text("the same" if names == [key] else short(out, names[:1], width - len(more))[0] + more if names else ""),
            " ".join(dict.fromkeys(result.how[n] for n in names)),
            "x".join(map(str, before)),
            "x".join(map(str, after)),
        )
    put(out, table)
    if len(shown) < len(result.shapes):
        out.print(f"[dim]... and {plural(len(result.shapes) - len(shown), 'more tensor')}; --json has every one[/]")
    old, new = result.params
    numbers = f"{count(old)} -> {count(new)} numbers ({new / max(old, 1) - 1:+.1%})"
    out.print(f"{plural(len(result.shapes), 'tensor')} cut, {numbers}")
    if result.repaired:
        have = plural(len(result.repaired), "tensor has", "tensors have")
        out.print(f"{have} the values of the repair")
    if result.out:
        out.print(f"written to [bold]{escape(str(result.out))}[/]", soft_wrap=True)
    else:
        out.print("nothing was written")


def weights_json(result: Carried) -> dict[str, Any]:
    """``spa.apply-weights/1``."""
    return {
        "schema": "spa.apply-weights/1",
        "input": result.source,
        "output": str(result.out) if result.out else None,
        "matched": {n: {"keys": keys, "by": result.how.get(n)} for n, keys in result.matched.items()},
        "shapes": {k: {"before": list(a), "after": list(b)} for k, (a, b) in result.shapes.items()},
        "params": {"before": result.params[0], "after": result.params[1]},
        "repaired": list(result.repaired),
        "warnings": result.warnings,
    }
