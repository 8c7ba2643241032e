"""Drift of trained models at 1.5x MACs, data-free: obspa against l2, on inputs that no calibration saw.

    python benchmarks/bench_real.py [--data ../shared/real] [--rf 1.5] [--only NAME,...]

Inputs are made twice: as the folder's ``manifest.json`` asks (uniform noise for most), and from the manifest's range
as smooth patterns. Drift is relative L2 over the float outputs (the share of changed values where all are integers),
agreement that of their arg-max. Models that neither method changes are counted as equal.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

import spa_cli
from spa_cli.errors import SpaError
from spa_cli.verification.drift import Drift, drift

SEEDS = 8


def make(spec: dict[str, Any], smooth: bool, rng: np.random.Generator) -> np.ndarray:
    """One input of the manifest; ``smooth``: a 1/f pattern over the axes instead of noise, in the same range."""
    shape, dtype, kind = tuple(spec["shape"]), spec["dtype"], spec.get("kind", "normal")
    if kind == "values":
        return np.asarray(spec["values"], object if dtype == "string" else None).reshape(shape).astype(dtype)
    if kind == "randint":
        return rng.integers(spec.get("low") or 0, max(spec.get("high") or 10, 1), shape).astype(dtype)
    if kind == "bool":
        return rng.random(shape) > 0.3
    low, high = (spec.get("low") or 0.0, spec.get("high") or 1.0) if kind == "uniform" else (0.0, 1.0)
    if not smooth:
        return (rng.uniform(low, high, shape) if kind == "uniform" else rng.standard_normal(shape)).astype(dtype)
    grid = np.meshgrid(*[np.fft.fftfreq(n) * n for n in shape], indexing="ij")
    amplitude = 1 / np.maximum(np.sqrt(sum(np.square(g) for g in grid)), 1)
    pattern = np.fft.ifftn(np.fft.fftn(rng.standard_normal(shape)) * amplitude).real
    pattern = (pattern - pattern.mean()) / (pattern.std() + 1e-9)
    return (np.clip(low + (high - low) * (0.5 + 0.25 * pattern), low, high) if kind == "uniform" else pattern).astype(
        dtype
    )


def outputs(path: Path, feeds: list[dict[str, np.ndarray]]) -> list[Any]:
    """All outputs of a model for every set of inputs, one after the other."""
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return [value for feed in feeds for value in session.run(None, feed)]


def moved_by(before: list[Any], after: list[Any]) -> Drift:
    """Drift; of models that give integers only, the share of values that changed."""
    if any(np.asarray(o).dtype.kind == "f" for o in before):
        return drift(before, after)
    changed = [np.mean(np.asarray(a) != np.asarray(b)) for a, b in zip(before, after, strict=True)]
    return Drift(float(np.mean(changed)), None)


def main() -> None:
    """Print one row per model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/real"))
    parser.add_argument("--rf", type=float, default=1.5)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    print("| model | obspa noise | l2 noise | obspa smooth | l2 smooth | arg-max (noise) obspa, l2 | s |")
    print("|---|---|---|---|---|---|---|")
    counts = Counter[str]()
    for entry in json.loads((args.data / "manifest.json").read_text()):
        if args.only and entry["name"] not in args.only.split(","):
            continue
        path = args.data / entry["file"]
        rng = np.random.default_rng(12345)
        feeds = {
            smooth: [{n: make(s, smooth, rng) for n, s in entry["inputs"].items()} for _ in range(SEEDS)]
            for smooth in (False, True)
        }
        moved: dict[str, list[Any]] = {}
        seconds = 0.0
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "small.onnx"
            try:
                for method in ("obspa", "l2"):
                    start = time.perf_counter()
                    shapes = {n: tuple(s["shape"]) for n, s in entry["inputs"].items()}
                    options = {"target_macs": 1 / args.rf, "method": method, "input_shape": shapes, "round_to": 1}
                    spa_cli.prune(path, out, force=True, **options)
                    seconds = max(seconds, time.perf_counter() - start)
                    moved[method] = [moved_by(outputs(path, f), outputs(out, f)) for f in feeds.values()]
            except SpaError as error:
                print(f"| {entry['name']} | {str(error)[:90]} | | | | | |", flush=True)
                continue
        ours, theirs = moved["obspa"], moved["l2"]
        pairs = [(a.relative_l2, b.relative_l2) for a, b in zip(ours, theirs, strict=True)]
        counts["nearer" if all(a < b for a, b in pairs) else "equal" if not np.any(pairs) else "not nearer"] += 1
        agree = ", ".join("-" if d[0].agreement is None else f"{d[0].agreement:.0%}" for d in (ours, theirs))
        print(
            f"| {entry['name']} | {ours[0].relative_l2:.3g} | {theirs[0].relative_l2:.3g} | {ours[1].relative_l2:.3g} "
            f"| {theirs[1].relative_l2:.3g} | {agree} | {seconds:.0f} |",
            flush=True,
        )
    print(f"\nobspa against l2, on both kinds of input: {dict(counts)}")
    sys.exit(0 if counts else 1)


if __name__ == "__main__":
    main()
