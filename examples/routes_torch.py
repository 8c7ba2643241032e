"""From a PyTorch network to a smaller one and back: the same steps whenever it is pruned. Read top to bottom."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from networks_torch import ResNet, ViT
from onnx import numpy_helper
from safetensors.torch import load_file, save_file
from torch import nn

import spa_cli
from spa_cli.adjoints.weights import WeightGradients, weight_gradients
from spa_cli.analysis import analyse_model
from spa_cli.derivatives.weights import weights_of
from spa_cli.graph.parameters import set_parameters
from spa_cli.result import Result
from spa_cli.runtime.load import load

Exporter = Callable[[nn.Module, Path], None]
IMAGES = (torch.zeros(2, 1, 8, 8),)
NAMES = {"input_names": ["image"], "output_names": ["logits"]}


@dataclass(frozen=True)
class Cut:
    """The smaller network, what ``spa_cli.prune`` says of the cut, and the folder with the files of all steps."""

    model: ResNet | ViT
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


def cut(
    model: ResNet | ViT, folder: Path, *, repaired: bool = False, exporter: Exporter | None = None, **options: Any
) -> Cut:
    """Export, prune, make the same cut in the network's own weights, and load them into the smaller network.

    ``repaired``: take the weights as ``spa_cli.prune`` refitted them, instead of those that training left.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (exporter or export)(model, folder / "model.onnx")
    save_file(model.state_dict(), folder / "model.safetensors")

    plan = folder / "plan.json"
    result = spa_cli.prune(folder / "model.onnx", folder / "small.onnx", plan_out=plan, force=True, **options)
    spa_cli.apply_weights(
        plan, folder / "model.safetensors", folder / "small.safetensors", model=folder / "model.onnx", force=True
    )
    state = load_file(folder / "small.safetensors")
    if repaired:
        state |= initializers(folder / "small.onnx", state)
    kept = json.loads(plan.read_text(encoding="utf-8"))["kept"]
    return Cut(model.smaller(state, kept).eval(), result, folder)


def export(model: nn.Module, path: Path) -> None:
    """Write the file that is pruned.

    ``optimize=False`` leaves every parameter what it is in the network, under its own name: no norm is folded into a
    convolution, nothing is transposed.
    """
    batch = {0: torch.export.Dim("batch")}
    with warnings.catch_warnings():
        # what the exporter has to say to PyTorch's own developers
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, IMAGES, path, dynamo=True, optimize=False, external_data=False, verbose=False,
            opset_version=18, dynamic_shapes=(batch,), **NAMES,
        )  # fmt: skip


def initializers(path: Path, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights in a file that carry the names of a state dict."""
    found = {t.name: t for t in onnx.load(path).graph.initializer if t.name in state}
    return {n: torch.from_numpy(np.array(numpy_helper.to_array(t))) for n, t in found.items()}


def export_classic(model: nn.Module, path: Path) -> None:
    """Write the file by PyTorch's older exporter, which needs no package beside PyTorch.

    It stores tensors of equal values once (two biases that have had the same gradients since they were zero), which
    would couple their channels; every parameter gets its own again.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, IMAGES, path, dynamo=False, opset_version=17, do_constant_folding=False,
            training=torch.onnx.TrainingMode.PRESERVE, dynamic_axes={"image": {0: "batch"}}, **NAMES,
        )  # fmt: skip
    proto = onnx.load(path)
    stored = {t.name: t for t in proto.graph.initializer}
    for node in [n for n in proto.graph.node if n.op_type == "Identity" and n.input[0] in stored]:
        own = numpy_helper.to_array(stored[node.input[0]])
        proto.graph.initializer.append(numpy_helper.from_array(own, node.output[0]))
        proto.graph.node.remove(node)
    onnx.save(proto, path)


class FromOnnx(nn.Module):
    """A pruned file as a network that can be trained, without any code of its own: onnxruntime computes it.

    Its parameters are the weights in the file; norms keep their statistics.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        analysis = analyse_model(load(path), {})
        graph = analysis.graph
        self.gradients = weight_gradients(graph, analysis.state.shapes, weights_of(graph), ["logits"])
        self.weights = nn.ParameterList(torch.from_numpy(w.copy()) for w in self.gradients.start().values())

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Class scores."""
        return Computed.apply(self.gradients, image, *self.weights)

    def named(self) -> dict[str, np.ndarray]:
        """The weights of today, by their names in the file."""
        return {n: w.detach().numpy() for n, w in zip(self.gradients.names, self.weights, strict=True)}


class Computed(torch.autograd.Function):
    """Class scores by one run of onnxruntime, gradients in the weights by another."""

    @staticmethod
    def forward(ctx: Any, gradients: WeightGradients, image: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        """Scores (n, classes) of images."""
        named = {n: w.detach().numpy() for n, w in zip(gradients.names, weights, strict=True)}
        ctx.run = gradients, {"image": image.numpy()}, named
        return torch.from_numpy(gradients.outputs(*ctx.run[1:])["logits"])

    @staticmethod
    def backward(ctx: Any, slopes: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Of the weights; images need none."""
        gradients, feeds, named = ctx.run
        found = gradients.run(feeds, {"logits": slopes.numpy()}, named)
        return None, None, *(torch.from_numpy(g) for g in found.values())


def into_onnx(model: FromOnnx, path: Path, out: Path) -> None:
    """The file that a network was read from, with the network's weights of today; all else stays as it is."""
    proto = onnx.load(path)
    set_parameters(proto.graph, model.named().get)
    onnx.save(proto, out)
