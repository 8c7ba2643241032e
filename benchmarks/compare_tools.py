"""spa and what one would otherwise reach for, as ``bench_compare.py`` runs them: a model in, a smaller file out.

Torch-Pruning and onnxsim take a ratio of channels, so the ratio that leaves the MACs asked for is searched for them;
seconds are those of one run at that ratio, export included, against all of ``spa prune``, which searches by itself.
"""

from __future__ import annotations

import io
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxsim
import torch
from compare_models import export, module_of
from ecosystem_models import Case, batches

import spa_cli

Make = Callable[[float, Path], None]
STEPS = 7  # a channel ratio to within a hundredth
NO_LESS = "no less is reached"


@dataclass(frozen=True)
class Run:
    """One row: a file and what it cost, or why there is none."""

    tool: str
    path: Path | None = None
    seconds: float = 0.0
    note: str = ""


def macs(path: Path) -> int:
    """One counter for all tools."""
    return spa_cli.inspect(path).costs.macs


def short(error: Exception) -> str:
    """An error as a cell of a table."""
    what = str(error) or "no message, in " + traceback.extract_tb(error.__traceback__)[-1].name
    text = " ".join(f"{type(error).__name__}: {what}".split()).replace("|", "/").replace("`", "'")
    return text[:197] + "..." if len(text) > 200 else text


def searched(tool: str, make: Make, out: Path, target: float, note: str = "") -> Run:
    """The least ratio of channels that leaves at most ``target`` MACs, by bisection; else what leaves the fewest."""
    low, high, found = 0.0, 1.0, list[tuple[int, float, Path]]()
    for step in range(STEPS):
        ratio, file = (low + high) / 2, out.with_name(f"{out.stem}_{step}.onnx")
        start = time.perf_counter()
        try:
            # what they print and warn of is theirs
            with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                warnings.simplefilter("ignore")
                make(ratio, file)
            seconds = time.perf_counter() - start
            left = macs(file)
        except Exception as error:  # noqa: BLE001 - that a tool fails is what is measured
            if step == 0:
                return Run(tool, note="; ".join(filter(None, [note, short(error)])))
            high = ratio  # some extreme ratios empty a layer
            continue
        found.append((left, seconds, file))
        low, high = (low, ratio) if left <= target else (ratio, high)
    met = [each for each in found if each[0] <= target]
    _, seconds, file = max(met, key=itemgetter(0)) if met else min(found, key=itemgetter(0))
    return Run(tool, file, seconds, "; ".join(filter(None, [note, "" if met else NO_LESS])))


def spa_run(tool: str, path: Path, out: Path, left: float, options: dict[str, Any]) -> Run:
    """All of ``spa prune``; a refusal is a row too."""
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            spa_cli.prune(path, out, target_macs=left, **options)
    except Exception as error:  # noqa: BLE001 - that a tool fails is what is measured
        return Run(tool, note=short(error))
    return Run(tool, out, time.perf_counter() - start)


def spa_runs(case: Case, folder: Path, left: float) -> Iterator[Run]:
    """With data, without, and with widths the kernels like."""
    calib = folder / "calib.npz"
    np.savez(calib, **case.calib)
    variants: dict[str, dict[str, Any]] = {
        "spa, data": {"calib": calib, "round_to": 1},
        "spa, data, `--round-to 8`": {"calib": calib, "round_to": 8},
        "spa, no data": {"round_to": 1},
    }
    if case.real:
        variants = {
            "spa, data": {"calib": calib},
            "spa, no data": {},
            "spa, `--method l1`, data to judge on": {"calib": calib, "method": "l1"},
            "spa, `--method l2`, data to judge on": {"calib": calib, "method": "l2"},
        }
    for i, (tool, options) in enumerate(variants.items()):
        yield spa_run(tool, case.path, folder / f"spa_{i}.onnx", left, options)


def onnxsim_sources(name: str, case: Case, folder: Path) -> Iterator[tuple[str, onnx.ModelProto]]:
    """The simplified model, and what a user tries where nothing in it is pruned: a fixed batch, another export."""
    model = onnx.load(case.path)
    yield "", onnxsim.simplify(model)[0]
    fixed = {n: [1, *a.shape[1:]] for n, a in case.calib.items()}
    yield "hint: batch fixed at 1", onnxsim.simplify(model, overwrite_input_shapes=fixed)[0]
    if name.startswith("digits_resnet"):
        out = folder / "exported.onnx"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            export(module_of(name, case.path), torch.from_numpy(next(iter(case.calib.values()))[:1]), out)
        yield "hint: exported anew by `dynamo=False`", onnxsim.simplify(onnx.load(out))[0]


def onnxsim_runs(name: str, case: Case, folder: Path, target: float) -> Iterator[Run]:
    """The structured pruning of onnxsim (a Python API, no option of its command), by weights and by activations."""
    for i, (note, source) in enumerate(onnxsim_sources(name, case, folder)):
        plain = folder / f"onnxsim_{i}.onnx"
        onnx.save(source, plain)
        if i == 0:
            yield Run("onnxsim, no pruning", plain)
        (wanted,) = source.graph.input
        size = wanted.type.tensor_type.shape.dim[0].dim_value or 32
        feeds = batches({wanted.name: next(iter(case.calib.values()))}, size)

        def by_weights(ratio: float, out: Path, source: onnx.ModelProto = source) -> None:
            onnx.save(onnxsim.apply_structured_pruning_cpp(source, sparsity=ratio), out)

        def by_wanda(ratio: float, out: Path, source: onnx.ModelProto = source, feeds: Any = feeds) -> None:
            onnx.save(onnxsim.apply_structured_wanda_pruning_cpp(source, feeds, sparsity=ratio), out)

        def tuned(ratio: float, out: Path, source: onnx.ModelProto = source, feeds: Any = feeds) -> None:
            small = onnxsim.apply_structured_wanda_pruning_cpp(source, feeds, sparsity=ratio)
            onnx.save(onnxsim.apply_pruning_finetune_cpp(source, small, calibration_data=feeds), out)

        first = searched("onnxsim, L2", by_weights, folder / f"onnxsim_l2_{i}.onnx", target, note)
        if first.path is None or macs(first.path) == macs(plain):
            why = "prunes nothing" if first.path else first.note
            yield Run(first.tool, note=why if not note or note in why else f"{note}; {why}")
            continue
        yield first
        yield searched("onnxsim, Wanda, data", by_wanda, folder / f"onnxsim_wanda_{i}.onnx", target, note)
        tool = "onnxsim, Wanda, data, then `apply_pruning_finetune`"
        yield searched(tool, tuned, folder / f"onnxsim_tuned_{i}.onnx", target, note)
        return
