"""Pruning at any time in PyTorch: before training, after it with and without training on, and in between.

python examples/torch_any_time.py
"""

from __future__ import annotations

from digits_torch import PACKAGES, TASKS
from sources import folder_of
from table import Row, show
from torch_after_training import carried, fine_tuned, fine_tuned_file
from torch_before_training import before_training
from torch_schedule import schedule
from torch_without_training import without_training


def main() -> None:
    """Run the examples on both networks and print one table."""
    rows: list[Row] = []
    for task in TASKS.values():
        _, distance = carried(task, folder_of("sliced", task.name), method="l1")
        print(f"{task.name}: scores in PyTorch and of the pruned file differ by {distance:.1e} at most (l1)")
        rows += [
            before_training(task, folder_of("before", task.name)),
            without_training(task, folder_of("without", task.name)),
            fine_tuned(task, folder_of("after", task.name)),
            fine_tuned_file(task, folder_of("file", task.name)),
            *schedule(task, folder_of("schedule", task.name)),
        ]
    show(rows, PACKAGES)


if __name__ == "__main__":
    main()
