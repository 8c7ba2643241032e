"""Prune before training: cut the untrained network, then train what is left to the end.

python examples/torch_before_training.py
"""

from __future__ import annotations

from pathlib import Path

from digits_torch import PACKAGES, TASKS, Task, accuracy, scores, write_samples
from routes_torch import cut
from sources import folder_of
from table import Row, show


def before_training(task: Task, folder: Path, method: str = "snip") -> Row:
    """Half the MACs go by what the loss of a labelled batch says of the first weights.

    An epoch of the smaller network costs less; it trains for as long as the dense one costs (Scratch-B of Liu et al.
    2019, arXiv 1810.05270).
    """
    samples = write_samples(folder)
    smaller = cut(task.untrained(), folder, target_macs=0.5, method=method, calib=samples)
    task.train(smaller.model, round(task.epochs / smaller.macs))
    found = accuracy(scores(smaller.model))
    dense = accuracy(scores(task.dense()))
    return Row(task.name, f"before training, {method}", smaller.macs, smaller.params, dense, found)


if __name__ == "__main__":
    show([before_training(t, folder_of("before", t.name)) for t in TASKS.values()], PACKAGES)
