"""Accuracy of pruned CIFAR-10 ResNets without fine-tuning (issue: OBSPA), on the full test set.

    python benchmarks/bench_accuracy.py [--data ../shared/bench] [--models resnet20,resnet56,...] [--rf 1.25,1.5,2,3]

The folder holds ``NAME.onnx``, ``cifar10_test.npz`` (x uint8, y), ``cifar10_calib.npz`` and ``cifar100_calib.npz``.
``--networks`` is the folder of the ``.onnx`` if that is another one (``train_cifar.py`` makes further depths).
Peak memory is that of a process of its own per run.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

MEAN = np.array([0.485, 0.456, 0.406], np.float32).reshape(1, 3, 1, 1)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32).reshape(1, 3, 1, 1)
RUNS: dict[str, tuple[str, str | None, int | str]] = {
    "obspa, 512 training images": ("obspa", "cifar10_calib", 1),
    "obspa, CIFAR-100 images": ("obspa", "cifar100_calib", 1),
    "obspa, no data": ("obspa", None, 1),
    "l1": ("l1", None, 1),
    "l2": ("l2", None, 1),
    "random": ("random", None, 1),
    "obspa, 512 training images, default widths": ("obspa", "cifar10_calib", "auto"),
}


def normalised(path: Path) -> np.ndarray:
    """Images as the networks take them."""
    return ((np.load(path)["x"] / 255.0).astype(np.float32) - MEAN) / DEVIATION


def accuracy(model: Path, images: np.ndarray, labels: np.ndarray) -> float:
    """Percent correct."""
    import onnxruntime as ort

    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    hits = 0
    for start in range(0, len(images), 500):
        (logits,) = session.run(None, {"input": images[start : start + 500]})
        hits += int((logits.argmax(1) == labels[start : start + 500]).sum())
    return 100 * hits / len(images)


def one(model: Path, out: Path, method: str, calib: Path | None, rf: float, round_to: int | str) -> dict[str, Any]:
    """Prune; meant for a process of its own, so that its peak memory can be read."""
    import spa_cli

    start = time.perf_counter()
    try:
        result = spa_cli.prune(
            model, out, force=True, target_macs=1 / rf, method=method, calib=calib, round_to=round_to
        )
    except Exception as error:  # noqa: BLE001 - a failed run is a row of the table
        return {"error": f"{type(error).__name__}: {error}"}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {"rf": result.rf, "rp": result.rp, "seconds": time.perf_counter() - start, "gb": peak}


def main() -> None:
    """Print one row per run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/bench"))
    parser.add_argument("--networks", type=Path, help="where NAME.onnx are; with the data if not given")
    parser.add_argument("--models", default="resnet20,resnet20_folded,resnet56,resnet56_folded")
    parser.add_argument("--rf", default="1.25,1.5,2,3")
    parser.add_argument(
        "--runs", default=",".join(str(i) for i in range(len(RUNS))), help="which of: " + "; ".join(RUNS)
    )
    args = parser.parse_args()
    labels = np.load(args.data / "cifar10_test.npz")["y"]
    images = normalised(args.data / "cifar10_test.npz")
    context = multiprocessing.get_context("spawn")
    print("| model | run | asked | accuracy % | RF | RP | s | GB |\n|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in ("cifar10_calib", "cifar100_calib"):
            np.savez(Path(folder) / f"{name}.npz", input=normalised(args.data / f"{name}.npz"))
        for model in args.models.split(","):
            path, out = (args.networks or args.data) / f"{model}.onnx", Path(folder) / f"{model}.onnx"
            print(f"| {model} | dense | 1 | {accuracy(path, images, labels):.2f} | 1 | 1 | | |", flush=True)
            for label, (method, data, round_to) in [list(RUNS.items())[int(i)] for i in args.runs.split(",")]:
                for rf in map(float, args.rf.split(",")):
                    calib = Path(folder) / f"{data}.npz" if data else None
                    # a child that is killed raises here instead of leaving the table waiting
                    with ProcessPoolExecutor(1, context) as pool:
                        found = pool.submit(one, path, out, method, calib, rf, round_to).result()
                    if "error" in found:
                        print(f"| {model} | {label} | {rf:g} | {json.dumps(found['error'])} | | | | |", flush=True)
                        continue
                    right = accuracy(out, images, labels)
                    print(
                        f"| {model} | {label} | {rf:g} | {right:.2f} | {found['rf']:.2f} | {found['rp']:.2f} "
                        f"| {found['seconds']:.0f} | {found['gb']:.2f} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
