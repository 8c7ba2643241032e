"""spa beside Torch-Pruning and onnxsim: the same trained models, the same data, half of the MACs, no fine-tuning.

    python benchmarks/bench_compare.py [--models digits_resnet,resnet20,...] [--bench ../shared/bench] [--images 2000]
    python benchmarks/bench_compare.py --models efflite0,mnv2,squeeze --left 0.7 [--imagenet ../shared/imagenet]

A table per model: what is left of the MACs (one counter for all: spa's), the file's size and the latency (one sample,
one thread, medians of rounds in which all files of a model take turns), as fractions of the original's; accuracy in %;
seconds (see ``compare_tools.py``). A tool that fails, or prunes nothing, is a row that says
why.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from compare_tools import Run, macs, onnxsim_runs, spa_runs
from compare_torch import torch_runs
from ecosystem_models import IMAGENET, Case, batches, case_of, imagenet

MODELS = "resnet20,digits_resnet,digits_vit,digits_mobilenet,digits_lstm,digits_mixer,digits_mlp"
PACKAGES = ("spa-onnx", "torch-pruning", "onnxsim", "torch", "onnx", "onnxruntime", "numpy")
SECONDS, ROUNDS, WARM = 5.0, 400, 5


def session_of(path: Path) -> ort.InferenceSession:
    """One thread, so that what runs beside it matters less."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def accuracy(path: Path, case: Case) -> float:
    """Percent right on the held-out samples, in batches that the file takes."""
    session = session_of(path)
    (wanted,) = session.get_inputs()
    names = [o.name for o in session.get_outputs()]
    scores = case.scores if case.scores in names else names[-1]  # an export anew names them anew
    samples = np.concatenate([next(iter(feed.values())) for feed in case.held_out])
    size = wanted.shape[0] if isinstance(wanted.shape[0], int) else 100
    found = [session.run([scores], feed)[0].argmax(1) for feed in batches({wanted.name: samples}, size)]
    return 100 * float((np.concatenate(found) == case.labels).mean())


def medians(paths: list[Path], sample: np.ndarray) -> list[float]:
    """Seconds per run: all take turns until time is up."""
    sessions = [session_of(path) for path in paths]
    feeds = [{session.get_inputs()[0].name: sample} for session in sessions]
    took: list[list[float]] = [[] for _ in paths]
    end = time.perf_counter() + SECONDS
    while len(took[0]) < WARM + 1 or (time.perf_counter() < end and len(took[0]) < WARM + ROUNDS):
        for session, feed, times in zip(sessions, feeds, took, strict=True):
            start = time.perf_counter()
            session.run(None, feed)
            times.append(time.perf_counter() - start)
    return [float(np.median(times[WARM:])) for times in took]


def runs(name: str, case: Case, folder: Path, left: float) -> list[Run]:
    """Every tool, one after the other."""
    target = left * macs(case.path)
    return [
        *spa_runs(case, folder, left),
        *torch_runs(name, case, folder, left, target),
        *onnxsim_runs(name, case, folder, target),
    ]


def table(name: str, case: Case, left: float) -> None:
    """Print a model's rows."""
    print(f"\n**{name}**, {accuracy(case.path, case):.1f} % before:\n")
    print("| tool | MACs | accuracy | size | latency | seconds | remarks |\n|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        rows = runs(name, case, Path(folder), left)
        files = [case.path, *(run.path for run in rows if run.path)]
        first, *rest = medians(files, next(iter(case.held_out[0].values()))[:1])
        latency = dict(zip(files[1:], rest, strict=True))
        whole, size = macs(case.path), case.path.stat().st_size
        for run in rows:
            if run.path is None:
                print(f"| {run.tool} | no file | | | | | {run.note} |")
                continue
            cells = [f"{macs(run.path) / whole:.2f}", f"{accuracy(run.path, case):.1f}"]
            cells += [f"{run.path.stat().st_size / size:.2f}", f"{latency[run.path] / first:.2f}"]
            cells.append(f"{run.seconds:.2g}" if run.seconds else "")
            print(f"| {run.tool} | {' | '.join(cells)} | {run.note} |", flush=True)


def main() -> None:
    """Print the versions and a table per model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--bench", type=Path, default=Path("../shared/bench"), help="where resnet20.onnx and CIFAR are")
    parser.add_argument("--imagenet", type=Path, default=Path("../shared/imagenet"), help="where its networks are")
    parser.add_argument("--images", type=int, default=2000, help="test images at most")
    parser.add_argument("--left", type=float, default=0.5, help="of the MACs")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"Python {platform.python_version()}, " + ", ".join(f"{p} {version(p)}" for p in PACKAGES))
    start = time.perf_counter()
    for name in args.models.split(","):
        if name == "resnet20" and not (args.bench / "resnet20.onnx").is_file():
            print(f"\nresnet20 is left out: {args.bench} has no resnet20.onnx (--bench says where to look).")
            continue
        if name in IMAGENET:
            table(name, imagenet(name, args.imagenet, args.images), args.left)
            continue
        table(name, case_of(name, Path(), args.bench, args.images), args.left)
    print(f"\n{time.perf_counter() - start:.0f} seconds in all")


if __name__ == "__main__":
    main()
