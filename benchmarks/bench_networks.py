"""Trained networks of real size, pruned by the default and scored by their own task: accuracy, latency, time, memory.

    python benchmarks/bench_networks.py imagenet [--data ../shared/imagenet] [--networks efflite0,mnv2,squeeze]
    python benchmarks/bench_networks.py tasks [--data ../shared/tasks] [--networks voice,lm,sts,yolox,ocr]

The folder holds the models and an ``evaluate.py`` that makes the calibration samples and scores a file. Latency is that
of one sample on one thread, as ``spa prune`` says it, relative to the original's. What stands behind ``--`` goes to
``spa prune``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

MODELS = {
    "efflite0": "efflite0.onnx",
    "mnv2": "mnv2.onnx",
    "squeeze": "squeeze.onnx",
    "voice": "voice.onnx",
    "lm": "lm.onnx",
    "sts": "build/minilm6.onnx",
    "yolox": "../real/models/yolox_nano.onnx",
    "ocr": "ocrrec.onnx",
}
KINDS = {"imagenet": ("top1", "efflite0,mnv2,squeeze"), "tasks": ("score", "voice,lm,sts,yolox,ocr")}


def pruned(model: Path, out: Path, calib: Path | None, fraction: float, options: list[str]) -> tuple[str, float, float]:
    """What a row says of latency and widths, or why there is none; seconds, and GB (0: there is no file).

    In a process of its own, the peak memory of whose children is that of one command.
    """
    command = [sys.executable, "-m", "spa_cli", "prune", str(model), "-o", str(out), "--target-macs", str(fraction)]
    command += ["--calib", str(calib)] if calib else []
    start = time.perf_counter()
    done = subprocess.run([*command, "--force", "--json", *options], capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        return done.stderr.strip().splitlines()[-1][:100], seconds, 0.0
    report = json.loads(done.stdout)
    ratios = [f"{one['left']:.2f}" for one in report["timings"] if (one["threads"], one["batch"]) == (1, 1)]
    widths = ", ".join(f"{multiple} in {count}" for multiple, count in report["multiples"].items())
    said = f"{ratios[0] if ratios else '-'} | {widths}{'' if report['drift']['resembles'] else '; ruined'}"
    return said, seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6


def main() -> None:
    """Print one row per network and fraction of the MACs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--networks")
    parser.add_argument("--macs", default="0.7,0.5")
    parser.add_argument("--no-data", action="store_true", help="without calibration samples")
    parser.add_argument("options", nargs="*", help="for spa prune, behind --")
    args = parser.parse_args()
    what, networks = KINDS[args.kind]
    folder = args.data or Path("../shared") / args.kind

    def evaluated(*arguments: str) -> str:
        command = [sys.executable, str(folder / "evaluate.py"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True)
        return (done.stdout or done.stderr or "nothing").strip().splitlines()[-1]

    context = multiprocessing.get_context("spawn")
    print("| network | MACs | score | latency | widths | s | GB |\n|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as private:
        for name in (args.networks or networks).split(","):
            model, out, calib = folder / MODELS[name], Path(private) / "small.onnx", Path(private) / f"{name}.npz"
            if not model.exists():
                print(f"| {name} | | there is no {model} | | | | |", flush=True)
                continue
            evaluated("calib", name, str(calib))
            print(f"| {name} | 1 | {evaluated(what, name, str(model))} | 1 | | | |", flush=True)
            for fraction in map(float, args.macs.split(",")):
                with ProcessPoolExecutor(1, context) as pool:
                    given = None if args.no_data else calib
                    said, seconds, gb = pool.submit(pruned, model, out, given, fraction, args.options).result()
                if not gb:
                    print(f"| {name} | {fraction:g} | {said} | | | {seconds:.0f} | |", flush=True)
                    continue
                score = evaluated(what, name, str(out))
                print(f"| {name} | {fraction:g} | {score} | {said} | {seconds:.0f} | {gb:.1f} |", flush=True)


if __name__ == "__main__":
    main()
