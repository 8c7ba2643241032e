"""From a flax network to a smaller one and back: the same steps whenever it is pruned. Read top to bottom."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import by_value
from digits_jax import Mixer, state_of
from jax2onnx import to_onnx
from safetensors.numpy import load_file, save_file

import spa_cli
from spa_cli.result import Result


@dataclass(frozen=True)
class Cut:
    """The smaller network, what ``spa_cli.prune`` says of the cut, and the folder with the files of all steps."""

    model: Mixer
    result: Result
    folder: Path

    @property
    def macs(self) -> float:
        """The fraction that remains."""
        return self.result.after.macs / self.result.before.macs

    @property
    def params(self) -> float:
        """The fraction that remains."""
        return self.result.after.params / self.result.before.params


def cut(model: Mixer, folder: Path, *, repaired: bool = False, **options: Any) -> Cut:
    """Export, prune, make the same cut in the network's own weights, and load them into the smaller network.

    The exporter numbers its constants; which is which parameter is told by their values.
    ``repaired``: take the weights as ``spa_cli.prune`` refitted them, instead of those that training left.
    """
    folder.mkdir(parents=True, exist_ok=True)
    export(model, folder / "model.onnx")
    save_file(state_of(model), folder / "model.safetensors")

    result = spa_cli.prune(
        folder / "model.onnx", folder / "small.onnx", plan_out=folder / "plan.json", force=True, **options
    )
    spa_cli.apply_weights(
        folder / "plan.json", folder / "model.safetensors", folder / "small.safetensors",
        model=folder / "model.onnx", force=True,
    )  # fmt: skip
    state = load_file(folder / "small.safetensors")
    if repaired:
        state = by_value.read(by_value.pair(state_of(model), folder / "model.onnx"), folder / "small.onnx")
    return Cut(Mixer(state), result, folder)


def export(model: Mixer, path: Path) -> None:
    """Write the file that is pruned."""
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)
    to_onnx(
        model, [("batch", 8, 8, 1)], model_name="digits_mixer", return_mode="file", output_path=path,
        input_names=["image"], output_names=["logits"],
    )  # fmt: skip
