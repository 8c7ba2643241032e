"""Prune after training, and train no more: no labels, no gradients, nothing but the file and some images.

python examples/torch_without_training.py
"""

from __future__ import annotations

from pathlib import Path

from digits_torch import PACKAGES, TASKS, Task, accuracy, onnx_scores, scores, write_samples
from routes_torch import export
from sources import folder_of
from table import Row, show

import spa_cli


def without_training(task: Task, folder: Path) -> Row:
    """OBSPA refits what is left to what the dense network computed on images without labels."""
    dense = task.dense()
    export(dense, folder / "model.onnx")
    images = write_samples(folder, labelled=False)
    result = spa_cli.prune(folder / "model.onnx", folder / "small.onnx", target_macs=0.5, calib=images, force=True)
    macs, params = result.after.macs / result.before.macs, result.after.params / result.before.params
    found = accuracy(onnx_scores(folder / "small.onnx"))
    return Row(task.name, "after training, obspa, no more training", macs, params, accuracy(scores(dense)), found)


if __name__ == "__main__":
    show([without_training(t, folder_of("without", t.name)) for t in TASKS.values()], PACKAGES)
