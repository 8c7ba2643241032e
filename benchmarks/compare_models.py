"""The models of ``bench_compare.py`` as PyTorch modules: what Torch-Pruning takes, with weights from the ``.onnx``."""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from cifar_resnet import CifarResNet
from ecosystem_models import IMAGENET
from onnx import numpy_helper
from torch import nn

SAMPLES = Path(__file__).resolve().parent.parent / "sample_models"
sys.path.append(str(SAMPLES / "train"))  # the training scripts import each other by their bare names


def sized_by_weights(self: Any, x: torch.Tensor) -> torch.Tensor:
    """The ViT's attention with every size read off the weights, which a pruned one needs."""
    batch, tokens, _ = x.shape
    heads = sys.modules["train_vit"].HEADS
    qkv = self.qkv(x).reshape(batch, tokens, 3, heads, -1).permute(2, 0, 3, 1, 4)
    q, k, v = qkv.unbind(0)
    # not the root of what is left: the queries were trained with this scale
    weights = ((q * sys.modules["train_vit"].HEAD_DIM ** -0.5) @ k.transpose(-2, -1)).softmax(dim=-1)
    return self.proj((weights @ v).transpose(1, 2).reshape(batch, tokens, -1))


def torch_gates(weight: np.ndarray) -> np.ndarray:
    """ONNX orders an LSTM's gates input, output, forget, cell; PyTorch input, forget, cell, output."""
    i, o, f, c = np.split(weight, 4)
    return np.concatenate([i, f, c, o])


def lstm_weights(nodes: list[onnx.NodeProto], values: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """The old exporter renames, reorders and joins them."""
    for layer, node in enumerate(nodes):
        w, r, b = (values[name][0] for name in node.input[1:4])
        bias_w, bias_r = np.split(b, 2)
        for name, value in (("weight_ih", w), ("weight_hh", r), ("bias_ih", bias_w), ("bias_hh", bias_r)):
            yield f"lstm.{name}_l{layer}", torch_gates(value)


def load(module: nn.Module, path: Path) -> nn.Module:
    """Fill a module from the file it was exported to, by name; what the exporter renamed, by the order of the nodes."""
    graph = onnx.load(path).graph
    values = {t.name: np.array(numpy_helper.to_array(t)) for t in graph.initializer}
    wanted = module.state_dict()
    state = {n: v for n, v in values.items() if n in wanted}
    state |= lstm_weights([n for n in graph.node if n.op_type == "LSTM"], values)
    missing = [n for n in wanted if n not in state and not n.endswith("num_batches_tracked")]
    # nn.Linear over tokens becomes a MatMul with the transposed weight; they come in the order of the forward pass
    products = [values[n.input[1]].T for n in graph.node if n.op_type == "MatMul" and n.input[1] in values]
    state |= zip(missing, products, strict=True)
    module.load_state_dict({n: torch.from_numpy(np.ascontiguousarray(v)) for n, v in state.items()}, strict=False)
    return module.eval()


SOURCES = {"digits_resnet": "train_resnet", "digits_vit": "train_vit", "digits_lstm": "train_lstm"}
CLASSES = {"digits_resnet": "ResNet", "digits_vit": "VisionTransformer", "digits_lstm": "RowReader"}


def converted(model: onnx.ModelProto) -> nn.Module:
    """What onnx2torch makes of a file."""
    for name in ("torchvision", "torchvision.ops"):
        # it is asked for at import, for an operator that none of these networks has
        stand_in = types.ModuleType(name)
        stand_in.__spec__ = importlib.machinery.ModuleSpec(name, None)
        vars(stand_in)["roi_align"] = None
        sys.modules.setdefault(name, stand_in)
    from onnx2torch import convert

    return convert(model).eval()


def freed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Reshapes with numbers of channels in them take what there is, as a pruned module needs."""
    shapes = {node.input[1] for node in model.graph.node if node.op_type == "Reshape"}
    for tensor in model.graph.initializer:
        if tensor.name in shapes:
            sizes = numpy_helper.to_array(tensor)
            if len(sizes) > 1 and sizes[1] > 1:
                tensor.CopyFrom(numpy_helper.from_array(np.array([0, -1, *sizes[2:]], sizes.dtype), tensor.name))
    return model


def module_of(name: str, path: Path) -> nn.Module | None:
    """The module, rebuilt in PyTorch; ``None`` of a model that never was one."""
    if name in IMAGENET:
        return converted(freed(onnx.load(path)))
    if name in ("resnet20", "resnet56"):
        return load(CifarResNet(int(name[6:])), path)
    if name in SOURCES:
        # digits.py, which the training scripts share, imports scikit-learn for the images; the class needs none
        source = importlib.import_module(SOURCES[name])
        return load(getattr(source, CLASSES[name])(), path)
    return None


def export(module: nn.Module, sample: torch.Tensor, out: Path) -> None:
    """By the exporter that needs no further package, batch free, BatchNorm folded."""
    axes = {"input": {0: "batch"}, "output": {0: "batch"}}
    names: dict[str, Any] = {"input_names": ["input"], "output_names": ["output"], "dynamic_axes": axes}
    torch.onnx.export(module, (sample,), str(out), dynamo=False, **names)
