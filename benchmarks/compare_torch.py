"""Torch-Pruning, as its README has it, on the modules of ``compare_models.py``."""

from __future__ import annotations

import copy
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch_pruning as tp
from cifar_resnet import CifarResNet
from compare_models import export, module_of, sized_by_weights
from compare_tools import Make, Run, searched, spa_run
from ecosystem_models import Case
from torch import nn


def recalibrate(module: nn.Module, samples: np.ndarray) -> None:
    """BatchNorm statistics anew, over calibration samples."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None  # a plain mean over all batches
            layer.train()
    with torch.no_grad():
        for start in range(0, len(samples), 64):
            module(torch.from_numpy(samples[start : start + 64]))
    module.eval()


def torch_hints(module: nn.Module, hinted: bool) -> dict[str, Any]:
    """What to leave whole: the README's output layer; with ``hinted`` also what a user adds once it failed."""
    ignored: list[nn.Module] = [m for m in module.modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1:]
    heads: dict[nn.Module, int] = {}
    if hinted and isinstance(module, CifarResNet):
        blocks = [block for layer in (module.layer1, module.layer2, module.layer3) for block in layer]
        ignored += [module.conv1, *(block.conv2 for block in blocks)]
    elif hinted:
        for block in module.blocks:
            block.attn.forward = types.MethodType(sized_by_weights, block.attn)
            heads[block.attn.qkv] = 4
    return {"ignored_layers": ignored, "num_heads": heads}


HINTS = {
    "resnet20": "hint: shortcuts left whole (`ignored_layers`)",
    "digits_vit": "hint: `num_heads`, and the attention's `forward` rewritten",
}


# what keeps the most without labels
BEST = {"recalibrated": True}


def maker(module: nn.Module, samples: np.ndarray, options: dict[str, Any], hinted: bool) -> Make:
    """How a file is made of a module at a ratio of its channels."""
    chosen = dict(options)
    p, again = chosen.pop("p", 2), chosen.pop("recalibrated", False)

    def make(ratio: float, out: Path) -> None:
        small, sample = copy.deepcopy(module), torch.from_numpy(samples[:1])
        criterion = tp.importance.GroupMagnitudeImportance(p=p)
        hints = torch_hints(small, hinted)
        pruner = tp.pruner.BasePruner(small, sample, importance=criterion, pruning_ratio=ratio, **hints, **chosen)
        pruner.step()
        if again:
            recalibrate(small, samples)
        export(small, sample, out)

    return make


def torch_runs(name: str, case: Case, folder: Path, left: float, target: float) -> Iterator[Run]:
    """A magnitude criterion with the options its README shows; with hints where it fails without."""
    label = "Torch-Pruning, group L2"
    module = module_of(name, case.path)
    if module is None:
        yield Run(label, note="was never a PyTorch module")
        return
    samples = next(iter(case.calib.values()))
    anew = folder / "torch.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the old exporter is the old one
        export(module, torch.from_numpy(samples[:1]), anew)
    yield Run("exported anew, no pruning", anew, note="rebuilt in PyTorch")
    if not case.real:
        # beside the others' files, which are exported anew as well
        calib = folder / "torch_calib.npz"
        np.savez(calib, input=samples)
        options = {"calib": calib, "round_to": 8}
        yield spa_run("exported anew, then spa, data, `--round-to 8`", anew, folder / "torch_spa.onnx", left, options)
    variants: dict[str, dict[str, Any]] = {
        label: {},
        "Torch-Pruning, group L1": {"p": 1},
        "Torch-Pruning, group L2, `global_pruning`": {"global_pruning": True},
        "Torch-Pruning, group L2, `round_to=8`": {"round_to": 8},
        "Torch-Pruning, group L2, `round_to=16`": {"round_to": 16},
    }
    if any(isinstance(m, nn.BatchNorm2d) for m in module.modules()):
        variants["Torch-Pruning, group L2, then BatchNorm recalibrated"] = BEST

    first = searched(label, maker(module, samples, {}, False), folder / "tp.onnx", target)
    yield first
    hint = "" if first.path else HINTS.get(name, "")
    for i, (tool, options) in enumerate(variants.items()):
        if hint or (first.path and options):
            yield searched(tool, maker(module, samples, options, bool(hint)), folder / f"tp_{i}.onnx", target, hint)
