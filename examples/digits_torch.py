"""Training and measuring the digits ResNet and ViT in PyTorch, with the data and the loop of ``sample_models``."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import sources  # noqa: F401 - what is imported below lies where this says
import torch
from networks_torch import ResNet, ViT
from torch import nn

import train_resnet
import train_vit
from digits import load_split
from torch_fit import as_tensor, fit, seed_torch

CALIBRATION_IMAGES = 256
PACKAGES = ("torch", "onnx", "onnxruntime", "numpy", "scikit-learn")


@dataclass(frozen=True)
class Task:
    """A network and how it is trained. ``tuning``: epochs and rate of training on after a cut."""

    name: str
    original: Callable[[], nn.Module]
    network: Callable[..., ResNet | ViT]
    epochs: int
    rate: float
    decay: float
    tuning: tuple[int, float]

    def untrained(self) -> ResNet | ViT:
        """The dense network as training starts from it: as wide, and with the same first weights, as the sample's."""
        seed_torch()
        return self.network(self.original().state_dict()).eval()

    def train(self, model: nn.Module, epochs: int | None = None) -> None:
        """To the end, in place."""
        self._fit(model, epochs or self.epochs, self.rate)

    def tune(self, model: nn.Module) -> None:
        """A little, in place."""
        self._fit(model, *self.tuning)

    def _fit(self, model: nn.Module, epochs: int, rate: float) -> None:
        # how the loss falls is progress, and no part of the tables
        with contextlib.redirect_stdout(sys.stderr):
            fit(model, channels=True, epochs=epochs, rate=rate, decay=self.decay)

    def dense(self) -> ResNet | ViT:
        """The dense network, trained; a copy of the caller's own."""
        return deepcopy(_dense(self.name))


TASKS = {
    "resnet": Task("resnet", train_resnet.ResNet, ResNet, 40, 0.005, 0.01, (15, 0.002)),
    "vit": Task("vit", train_vit.VisionTransformer, ViT, 150, 0.002, 0.05, (75, 0.001)),
}


@functools.cache
def _dense(name: str) -> ResNet | ViT:
    """Trained once a process, however many examples start from it."""
    model = TASKS[name].untrained()
    TASKS[name].train(model)
    return model


def scores(model: nn.Module) -> np.ndarray:
    """Class scores of the test images."""
    with torch.no_grad():
        return model.eval()(as_tensor(load_split().test_x, True)).numpy()


def onnx_scores(path: Path) -> np.ndarray:
    """The same of a file, in onnxruntime."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(["logits"], {"image": load_split().test_x[:, None]})
    return np.asarray(found)


def accuracy(found: np.ndarray) -> float:
    """In percent of the test images."""
    return 100 * float((found.argmax(1) == load_split().test_y).mean())


def write_samples(folder: Path, labelled: bool = True) -> Path:
    """Training images for ``--calib``; criteria that look at the loss take the labels beside them."""
    split, path = load_split(), folder / "samples.npz"
    arrays = {"image": split.train_x[:CALIBRATION_IMAGES, None]}
    if labelled:
        arrays["labels"] = split.train_y[:CALIBRATION_IMAGES]
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)
    return path
