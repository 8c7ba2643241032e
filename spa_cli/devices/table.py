"""What was measured of a model at several widths, as it is kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

# widths are told apart by the largest of these that they are multiples of
CLASSES = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Run:
    """One way the model was cut (the first: not at all): what each timed node did and took.

    By label: ``widths``, the lengths of its axes that channels can go from, ``work`` as a fraction of the whole
    model's, ``seconds``.
    """

    widths: dict[str, list[int]]
    work: dict[str, float]
    seconds: dict[str, float]


@dataclass(frozen=True)
class Table:
    """``machine``: in words; ``model``: its name; ``runs``: the whole model, then cuts of it.

    ``kinds``: of the layers, by label; ``leaders``: of every timed node the layer whose result it works on, or itself.
    """

    machine: str
    model: str
    runs: list[Run]
    kinds: dict[str, str]
    leaders: dict[str, str]

    def json(self) -> dict[str, Any]:
        """As it is written."""
        return asdict(self)

    @staticmethod
    def of(found: dict[str, Any]) -> Table:
        """As it was read; raises KeyError, TypeError or ValueError if it is not one."""
        table = Table(**{**found, "runs": [Run(**run) for run in found["runs"]]})
        labels = table.runs[0].work.keys() if table.runs else set[str]()
        if not labels or any(run.work.keys() != labels or run.widths.keys() != labels for run in table.runs):
            raise ValueError("not all runs are of the same nodes")
        if not labels == table.leaders.keys() >= {*table.kinds, *table.leaders.values()}:
            raise ValueError("it tells of other nodes than were run")
        return table


def class_of(widths: list[int]) -> int:
    """The largest multiple that all of these widths are."""
    return next(m for m in reversed(CLASSES) if all(w % m == 0 for w in widths))
