"""The tables of ``spa devices``: machines that are known, and what was measured of this one."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from spa_cli.devices import store
from spa_cli.devices.costs import costs_by_kind
from spa_cli.devices.kinds import KINDS
from spa_cli.devices.profiles import profiles
from spa_cli.devices.table import CLASSES
from spa_cli.report.tables import new_table, put, short


def devices_json(forgotten: int = 0) -> dict[str, Any]:
    """``spa.devices/1``."""
    return {
        "schema": "spa.devices/1",
        "machine": store.machine(),
        "profiles": [
            {"name": p.name, "about": p.about, "source": list(p.source), "multiples": dict(p.multiples)}
            for p in profiles().values()
        ],
        "measured": [
            {
                "model": table.model,
                "machine": table.machine,
                "file": str(file),
                "costs": {kind: {str(m): c for m, c in each.items()} for kind, each in costs_by_kind(table).items()},
            }
            for file, table in store.kept()
        ],
        "forgotten": forgotten,
    }


def devices_tables(out: Console, found: dict[str, Any]) -> None:
    """Of a ``spa.devices/1``: multiples by kind of layer, their sources, then what was measured."""
    table = new_table(out, "devices (--device): of how many channels kernels work at a time")
    table.add_column("name", no_wrap=True)
    for kind in KINDS:
        # "convolution" and the names of seven devices fit into 80 columns
        table.add_column(kind, justify="right", no_wrap=True)
    for profile in found["profiles"]:
        table.add_row(profile["name"], *(str(profile["multiples"][kind]) for kind in KINDS))
    put(out, table, spare=("recurrent", "grouped", "product"))
    for profile in found["profiles"]:
        out.print(Text.assemble((profile["name"], "bold"), f": {profile['about']}"))
        for source in profile["source"]:
            out.print(Padding(Text(source, "dim", overflow="fold"), (0, 0, 0, 2)))
    out.print(Text.assemble(("here", "bold"), f": {found['machine']}"))
    if not found["measured"]:
        out.print("nothing was measured yet: the first 'spa prune' of a model does it")
        return
    _measured(out, found["measured"])


def _measured(out: Console, measured: list[dict[str, Any]]) -> None:
    table = new_table(out, "measured: what layers take at widths that are multiples of")
    width = max(12, min(out.width - 56, 40))
    table.add_column("model", no_wrap=True)
    table.add_column("layers", no_wrap=True)
    for multiple in CLASSES:
        table.add_column(str(multiple), justify="right", no_wrap=True)
    for one in measured:
        for number, (kind, costs) in enumerate(one["costs"].items()):
            name = "" if number else short(out, [one["model"]], width)[0]
            cells = (f"{costs[str(m)]:.2f}" if str(m) in costs else "-" for m in CLASSES)
            table.add_row(Text(name), kind, *cells)
    put(out, table)
    for machine in sorted({one["machine"] for one in measured}):
        models = sum(one["machine"] == machine for one in measured)
        out.print(Text(f"{models} of {len(measured)} on {machine}"))
    out.print("times what the best of them take; 'spa devices --clear' forgets it")
