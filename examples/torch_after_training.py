"""Prune after training, then fine-tune: in the network's own code, or from the ONNX file alone.

python examples/torch_after_training.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from digits_torch import PACKAGES, TASKS, Task, accuracy, onnx_scores, scores, write_samples
from routes_torch import Cut, FromOnnx, cut, export, into_onnx
from sources import folder_of
from table import Row, show


def carried(task: Task, folder: Path, **options: Any) -> tuple[Cut, float]:
    """The trained network at half its MACs, and how far its scores are from those of the pruned file at most."""
    smaller = cut(task.dense(), folder, target_macs=0.5, **options)
    distance = np.abs(scores(smaller.model) - onnx_scores(folder / "small.onnx")).max()
    return smaller, float(distance)


def fine_tuned(task: Task, folder: Path) -> Row:
    """The repaired weights, by name, in the smaller network; fine-tuned, exported, and measured in onnxruntime."""
    smaller, _ = carried(task, folder, method="obspa", repaired=True, calib=write_samples(folder))
    task.tune(smaller.model)
    export(smaller.model, folder / "tuned.onnx")
    return _row(task, "after training, obspa, fine-tuned", smaller, folder / "tuned.onnx")


def fine_tuned_file(task: Task, folder: Path) -> Row:
    """The pruned file itself as a PyTorch network, computed by onnxruntime; fine-tuned, its weights put back."""
    smaller, _ = carried(task, folder, method="obspa", calib=write_samples(folder))
    pruned, tuned = folder / "small.onnx", folder / "tuned.onnx"
    model = FromOnnx(pruned)
    task.tune(model)
    into_onnx(model, pruned, tuned)
    np.testing.assert_allclose(scores(model), onnx_scores(tuned), rtol=1e-4, atol=1e-4)
    return _row(task, "the same, from the pruned file alone", smaller, tuned)


def _row(task: Task, way: str, smaller: Cut, tuned: Path) -> Row:
    dense = accuracy(scores(task.dense()))
    return Row(task.name, way, smaller.macs, smaller.params, dense, accuracy(onnx_scores(tuned)))


def main() -> None:
    """Show that both routes give the same network, then fine-tune."""
    rows = []
    for task in TASKS.values():
        folder = folder_of("after", task.name)
        _, sliced = carried(task, folder, method="l1")
        _, repaired = carried(task, folder, method="obspa", repaired=True, calib=write_samples(folder))
        print(f"{task.name}: scores in PyTorch and of the pruned file differ by {sliced:.1e} at most (l1)")
        print(f"{task.name}: and with the repaired weights read back by {repaired:.1e} (obspa)")
        rows += [fine_tuned(task, folder), fine_tuned_file(task, folder)]
    show(rows, PACKAGES)


if __name__ == "__main__":
    main()
