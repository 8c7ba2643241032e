"""Pruning at any time in JAX: before training, and after it with and without training on.

python examples/jax_any_time.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from digits_jax import PACKAGES, TUNING, Mixer, accuracy, dense, onnx_scores, scores, train, untrained
from routes_jax import Cut, cut, export
from sources import ROOT, folder_of
from table import Row, show

import train_mixer

IMAGES = ROOT / "sample_models" / "digits_mixer_calib.npz"


def distance(smaller: Cut) -> float:
    """How far the scores in JAX are from those of the pruned file at most."""
    return float(np.abs(scores(smaller.model) - onnx_scores(smaller.folder / "small.onnx")).max())


def before_training(folder: Path) -> Row:
    """Cut the untrained network, then train what is left for as long as the dense network costs.

    ``l1`` needs nothing; with samples any of the gradient criteria would do.
    """
    smaller = cut(untrained(), folder, target_macs=0.5, method="l1")
    train(smaller.model, round(train_mixer.EPOCHS / smaller.macs))
    return _row("before training, l1", smaller, scores(smaller.model))


def after_training(folder: Path) -> list[Row]:
    """The repaired weights in the smaller network; as they are, then fine-tuned and exported again."""
    smaller = cut(Mixer(dense()), folder, target_macs=0.5, method="obspa", repaired=True, calib=IMAGES)
    rows = [_row("after training, obspa, no more training", smaller, scores(smaller.model))]
    train(smaller.model, *TUNING)
    export(smaller.model, folder / "tuned.onnx")
    return [*rows, _row("after training, obspa, fine-tuned", smaller, onnx_scores(folder / "tuned.onnx"))]


def _row(way: str, smaller: Cut, found: np.ndarray) -> Row:
    reference = accuracy(scores(Mixer(dense())))
    return Row("mixer", way, smaller.macs, smaller.params, reference, accuracy(found))


def main() -> None:
    """Run the examples and print one table."""
    sliced = cut(Mixer(dense()), folder_of("sliced", "mixer"), target_macs=0.5, method="l1")
    print(f"mixer: scores in JAX and of the pruned file differ by {distance(sliced):.1e} at most (l1)")
    before, after = folder_of("before", "mixer"), folder_of("after", "mixer")
    show([before_training(before), *after_training(after)], PACKAGES)


if __name__ == "__main__":
    main()
