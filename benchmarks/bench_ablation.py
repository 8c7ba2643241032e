"""What each part of OBSPA is worth: one of them off (or on) at a time, scored by the networks' own tasks.

    python benchmarks/bench_ablation.py [--shared ../shared] [--networks resnet20,mnv2,yolox] [--only metric,rounds]
                                        [--left 0.7] [--round-to 16]

ResNet-20 and 56 at half their MACs and any width, the others at ``--left`` of them, by the default widths unless
``--round-to`` says others. The folder is that of ``bench_accuracy.py`` (``bench``) and ``bench_networks.py``
(``imagenet``, ``tasks``).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from bench_accuracy import accuracy, normalised
from bench_networks import MODELS

import spa_cli
from spa_cli.obspa import curvature, rank
from spa_cli.obspa import sensitivity as felt
from spa_cli.obspa.directions import Directions

FELT = curvature.sensitivity
# what is changed: options of ``prune``, and parts of OBSPA that are switched off
PARTS: dict[str, tuple[dict[str, Any], dict[tuple[Any, str], Any]]] = {
    "all": ({}, {}),
    "metric": ({}, {(curvature, "sensitivity"): lambda *a: replace(FELT(*a), metric={})}),
    "layers": ({}, {(Directions, "weight"): lambda *_: 1.0}),
    "everywhere": ({}, {(felt, "ONE_ANSWER"): 1}),
    "positions": ({}, {(curvature, "sensitivity"): lambda *a: replace(FELT(*a), chances={})}),
    "shrinkage": ({}, {(rank, "shrunk"): lambda h, rows: h}),
    "samples": ({"calib_samples": 128}, {}),
    "repair": ({"repair": False}, {}),
    "rounds": ({"rounds": 2}, {}),
}
SAID = {
    "all": "as it is",
    "metric": "without the metric of what outputs feel",
    "layers": "errors relative to what they are added into, whatever is felt of the layer",
    "everywhere": "with it for networks of one answer a sample, too",
    "positions": "positions drawn evenly",
    "shrinkage": "covariances as they are",
    "samples": "128 samples",
    "repair": "without repair",
    "rounds": "in two rounds",
}


def main() -> None:
    """Print one row per part, one column per network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--networks", default="resnet20,mnv2,yolox")
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--left", type=float, default=0.7)
    parser.add_argument("--round-to", default="auto")
    args = parser.parse_args()
    networks = args.networks.split(",")
    print(f"| | {' | '.join(networks)} |\n|---|{'---|' * len(networks)}", flush=True)
    with tempfile.TemporaryDirectory() as private:
        for part in args.only.split(","):
            asked = {"target_macs": args.left, "round_to": args.round_to}
            row = [_score(args.shared, name, part, Path(private), asked) for name in networks]
            print(f"| {SAID[part]} | {' | '.join(row)} |", flush=True)


def _score(shared: Path, name: str, part: str, private: Path, asked: dict[str, Any]) -> str:
    options, parts = PARTS[part]
    small, calib = private / "small.onnx", private / f"{name}.npz"
    with ExitStack() as stack:
        for (where, what), instead in parts.items():
            stack.enter_context(patch.object(where, what, instead))
        if name.startswith("resnet"):
            bench = shared / "bench"
            if not calib.exists():
                np.savez(calib, input=normalised(bench / "cifar10_calib.npz")[:512])
            spa_cli.prune(
                bench / f"{name}.onnx", small, target_macs=0.5, round_to=1, calib=calib, force=True, **options
            )
            labels = np.load(bench / "cifar10_test.npz")["y"]
            return f"{accuracy(small, normalised(bench / 'cifar10_test.npz'), labels):.2f}"
        kind = "imagenet" if name in ("efflite0", "mnv2", "squeeze") else "tasks"
        evaluate = shared / kind / "evaluate.py"
        if not calib.exists():
            subprocess.run([sys.executable, evaluate, "calib", name, calib], check=True, capture_output=True)
        spa_cli.prune(shared / kind / MODELS[name], small, calib=calib, force=True, **asked, **options)
    command = [sys.executable, evaluate, "top1" if kind == "imagenet" else "score", name, small]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip().splitlines()[-1]


if __name__ == "__main__":
    main()
