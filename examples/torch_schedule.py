"""Prune a little, train a little, and again: a schedule is a loop around the same steps.

python examples/torch_schedule.py
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from digits_torch import PACKAGES, TASKS, Task, accuracy, scores, write_samples
from routes_torch import cut
from sources import folder_of
from table import Row, show

ROUNDS = (1.25, 1.5, 2.0)


def schedule(task: Task, folder: Path, rounds: Sequence[float] = ROUNDS) -> list[Row]:
    """After each round the MACs are the given number of times fewer than the dense network's."""
    samples = write_samples(folder)
    model, macs, params = task.dense(), 1.0, 1.0
    dense, rows = accuracy(scores(model)), []
    for number, fewer in enumerate(rounds, 1):
        # a budget is a fraction of the network that is pruned: here of what the round before left
        smaller = cut(
            model, folder / f"round{number}", target_macs=1 / fewer / macs, method="obspa", repaired=True, calib=samples
        )
        model, macs, params = smaller.model, macs * smaller.macs, params * smaller.params
        task.tune(model)
        rows.append(Row(task.name, f"schedule, round {number}", macs, params, dense, accuracy(scores(model))))
    return rows


if __name__ == "__main__":
    show([row for t in TASKS.values() for row in schedule(t, folder_of("schedule", t.name))], PACKAGES)
