"""How time and memory of ``spa prune --method obspa`` grow with samples, width and depth, and where the time goes.

    python benchmarks/bench_obspa.py [--quick] [--only samples,width,depth,profile]

Residual networks for 32 x 32 images with random weights, half of the MACs removed. Every row is a process of its own,
so that its peak memory can be read; columns in brackets are ratios to the row before.
"""

from __future__ import annotations

import argparse
import cProfile
import multiprocessing
import pstats
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# (file, function) of every stage of the pipeline; what they share with the rest is counted once
STAGES = {
    "analysis": ("analysis.py", "analyse_model"),
    "reading or making samples": ("fitting.py", "fitted_to"),
    "statistics of the dense network": ("statistics.py", "collect"),
    "greedy OBS ranking": ("rank.py", "rank"),
    "choosing": ("choose.py", "choose_by_budget"),
    "cutting": ("rewrite.py", "cut"),
    "repair walk": ("walk.py", "walk"),
    "judging the repair": ("curvature.py", "_error"),
    "checking the file": ("check.py", "verify_file"),
    "latency": ("timing.py", "latency"),
}


def network(width: int, blocks: int, seed: int = 0) -> onnx.ModelProto:
    """Three stages of ``blocks`` residual blocks, of ``width``, twice and four times as many channels."""
    rng = np.random.default_rng(seed)
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def add(op: str, *inputs: str, arrays: dict[str, np.ndarray] | None = None, **attributes: object) -> str:
        name = f"{op}_{len(nodes)}"
        extra = []
        for role, array in (arrays or {}).items():
            weights.append(numpy_helper.from_array(array.astype(np.float32), f"{name}_{role}"))
            extra.append(f"{name}_{role}")
        nodes.append(helper.make_node(op, [*inputs, *extra], [name], name, **attributes))
        return name

    def conv(x: str, i: int, o: int, k: int, stride: int) -> str:
        w = rng.standard_normal((o, i, k, k)) * np.sqrt(2 / (i * k * k))
        y = add("Conv", x, arrays={"w": w}, strides=[stride] * 2, pads=[k // 2] * 4)
        norm = {"scale": rng.uniform(0.5, 1.5, o), "bias": 0.2 * rng.standard_normal(o), "mean": np.zeros(o)}
        return add("BatchNormalization", y, arrays={**norm, "var": np.ones(o)})

    x, before = add("Relu", conv("x", 3, width, 3, 1)), width
    for stage in range(3):
        for block in range(blocks):
            after, stride = width * 2**stage, 2 if stage and not block else 1
            y = conv(add("Relu", conv(x, before, after, 3, stride)), after, after, 3, 1)
            shortcut = x if (before, stride) == (after, 1) else conv(x, before, after, 1, stride)
            x, before = add("Relu", add("Add", y, shortcut)), after
    flat = add("Flatten", add("GlobalAveragePool", x))
    last = {"w": rng.standard_normal((before, 10)) / np.sqrt(before), "b": np.zeros(10)}
    nodes.append(helper.make_node("Gemm", [flat, *last], ["y"], "head"))
    weights += [numpy_helper.from_array(v.astype(np.float32), k) for k, v in last.items()]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 32, 32])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 10])]
    graph = helper.make_graph(nodes, "net", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def images(samples: int, folder: str) -> None:
    """Write the samples, in a process whose memory is not measured."""
    from spa_cli.calibration.dead_leaves import dead_leaves

    pixels = dead_leaves(samples, 3, 32, 32, np.random.default_rng(0))
    np.save(Path(folder) / f"{samples}.npy", pixels.astype(np.float32) / 64 - 2)


def prune(width: int, blocks: int, samples: int, folder: str) -> tuple[float, float]:
    """One run; seconds, and peak gigabytes of this process."""
    import spa_cli

    calib, model = Path(folder) / f"{samples}.npy", network(width, blocks)
    start = time.perf_counter()
    spa_cli.prune(model, target_macs=0.5, calib=calib, calib_samples=samples, round_to=1)
    return time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def growth(title: str, rows: list[tuple[int, int, int]], folder: str) -> None:
    """One table over (width, blocks per stage, samples)."""
    print(f"\n{title}\n\n| width | blocks | samples | seconds | peak GB |\n|---|---|---|---|---|")
    context, last = multiprocessing.get_context("spawn"), None
    for row in rows:
        with ProcessPoolExecutor(1, context) as before:
            before.submit(images, row[2], folder).result()
        with ProcessPoolExecutor(1, context) as alone:
            seconds, peak = alone.submit(prune, *row, folder).result()
        ratio = ["", ""] if last is None else [f" ({seconds / last[0]:.1f}x)", f" ({peak / last[1]:.1f}x)"]
        last = seconds, peak
        print(f"| {row[0]} | {row[1]} | {row[2]} | {seconds:.1f}{ratio[0]} | {peak:.2f}{ratio[1]} |", flush=True)


def profile(row: tuple[int, int, int], folder: str) -> None:
    """Seconds per stage of one run."""
    images(row[2], folder)
    profiler = cProfile.Profile()
    profiler.runcall(prune, *row, folder)
    stats = pstats.Stats(profiler)
    total = float(stats.total_tt)  # type: ignore[attr-defined]
    found = {(Path(f).name, name): v[3] for (f, _, name), v in stats.stats.items() if "spa_cli" in f}  # type: ignore[attr-defined]
    missing = [stage for stage, key in STAGES.items() if key not in found]
    if missing:
        raise SystemExit(f"no function was seen for the stage '{missing[0]}': {STAGES[missing[0]]}")
    print(f"\nWhere the time goes (width {row[0]}, {row[1]} blocks a stage, {row[2]} samples)\n\n| stage | s | share |")
    print("|---|---|---|")
    for stage, key in STAGES.items():
        print(f"| {stage} | {found[key]:.2f} | {found[key] / total:.0%} |")
    rest = total - sum(found[key] for key in STAGES.values())
    print(f"| the rest | {rest:.2f} | {rest / total:.0%} |\n| all | {total:.2f} | |", flush=True)


def main() -> None:
    """Print the tables asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="samples,width,depth,profile")
    parser.add_argument("--quick", action="store_true", help="smaller networks and fewer samples")
    args = parser.parse_args()
    few = 64 if args.quick else 256
    tables = {
        "samples": [(16, 3, few // 2 * 2**i) for i in range(3 if args.quick else 5)],
        "width": [(w, 1, few) for w in ((8, 16) if args.quick else (8, 16, 32, 64))],
        "depth": [(16, b, few) for b in ((1, 2) if args.quick else (1, 3, 5, 9))],
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, rows in tables.items():
            if name in args.only.split(","):
                growth(f"Growth with {name}", rows, folder)
        if "profile" in args.only.split(","):
            profile((16, 2 if args.quick else 9, 2 * few), folder)


if __name__ == "__main__":
    main()
