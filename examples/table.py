"""What the examples print: one row for every way to a smaller network, and the versions it was measured with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version


@dataclass(frozen=True)
class Row:
    """``macs`` and ``params`` are the fractions that remain, accuracies are in percent of the 597 test images."""

    network: str
    way: str
    macs: float
    params: float
    dense: float
    accuracy: float

    def __str__(self) -> str:
        cells = [self.network, self.way, f"{1 / self.macs:.2f}x", f"{1 / self.params:.2f}x"]
        return "| " + " | ".join([*cells, f"{self.dense:.2f}", f"{self.accuracy:.2f}"]) + " |"


def show(rows: Sequence[Row], packages: Sequence[str]) -> None:
    """Print a Markdown table and the versions."""
    heads = ["network", "how", "fewer MACs", "fewer parameters", "dense, %", "pruned, %"]
    print("| " + " | ".join(heads) + " |")
    print("|---" * len(heads) + "|")
    print(*rows, sep="\n")
    print("\n" + ", ".join(f"{p} {version(p)}" for p in packages), flush=True)
