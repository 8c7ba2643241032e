"""What a second core gives: scoring and repairing one model on one core and on two, in turns.

    python benchmarks/bench_cores.py [MODEL.onnx CALIB.npz FRACTION] [--turns 3]

Without a model a residual network for 32 x 32 images with random weights (``bench_obspa.py``), 512 samples. Seconds are
the least of the turns; the bytes of the results are compared. Before it what two cores are worth here at most: two
processes that share nothing, each with products of its own, against one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
# functions that curvature.py calls
STAGES = {"collect": "statistics", "rank": "rankings", "walk": "repair"}


def once(model: str, calib: str, fraction: float) -> None:
    """Prune; print seconds by stage, those of a processor, and what the result is."""
    from spa_cli.threads import on_one_thread

    on_one_thread()
    import spa_cli
    from spa_cli.obspa import curvature

    spent = dict.fromkeys(STAGES, 0.0)

    def timed(name: str) -> None:
        plain = getattr(curvature, name)

        def call(*given: object, **named: object) -> object:
            begun = time.monotonic()
            try:
                return plain(*given, **named)
            finally:
                spent[name] += time.monotonic() - begun

        setattr(curvature, name, call)

    for name in STAGES:
        timed(name)
    begun = time.monotonic()
    result = spa_cli.prune(model, target_macs=fraction, calib=calib, round_to=16)
    found = {**spent, "all": time.monotonic() - begun, "processor": time.process_time()}
    print(json.dumps({**found, "bytes": hashlib.sha256(result.model.SerializeToString()).hexdigest()[:12]}))


def run(cores: int, *given: str) -> dict[str, float | str]:
    """In a process of its own that may use so many cores."""
    few = sorted(os.sched_getaffinity(0))[:cores]
    code = f"import os, sys; os.sched_setaffinity(0, {few}); sys.path[:0] = [{str(HERE)!r}, {str(HERE.parent)!r}]; "
    code += f"import bench_cores as b; b.once({given[0]!r}, {given[1]!r}, {float(given[2])})"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float | str] = json.loads(done.stdout.splitlines()[-1])
    return found


def products(cores: list[int]) -> float:
    """Seconds that the slowest takes of as many processes as cores, each on one of them, for the same products."""
    code = "import os, sys, time, numpy as np; os.sched_setaffinity(0, {int(sys.argv[1])}); a = np.ones((1500, 1500)); "
    code += "a @ a; sys.stdin.readline(); t = time.monotonic(); [a @ a for _ in range(20)]; print(time.monotonic() - t)"
    line, alone = [sys.executable, "-c", code], {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": alone}
    running = [subprocess.Popen([*line, str(core)], **pipes) for core in cores]
    time.sleep(2)
    for each in running:
        each.stdin.write("\n")
        each.stdin.flush()
    return max(float(each.communicate()[0]) for each in running)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("given", nargs="*")
    parser.add_argument("--turns", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        given = args.given or _own(Path(folder))
        runs = [(run(1, *given), run(2, *given)) for _ in range(args.turns)]
        cores = sorted(os.sched_getaffinity(0))[:2]
        gained = max(2 * products(cores[:1]) / products(cores) for _ in range(args.turns))
    print(f"two processes that share nothing: {gained:.2f} times the products of one")
    print("| | one core, s | two cores, s | times faster |")
    print("|---|---|---|---|")
    for name, what in {**STAGES, "all": "all of the command"}.items():
        one, two = (min(float(pair[side][name]) for pair in runs) for side in (0, 1))
        print(f"| {what} | {one:.1f} | {two:.1f} | {one / two:.2f} |")
    print("bytes:", *sorted({str(each["bytes"]) for pair in runs for each in pair}))


def _own(folder: Path) -> list[str]:
    import numpy as np
    import onnx
    from bench_obspa import network

    onnx.save(network(32, 3), folder / "model.onnx")
    x = np.random.default_rng(0).normal(size=(512, 3, 32, 32)).astype(np.float32)
    np.savez(folder / "calib.npz", x=x)
    return [str(folder / "model.onnx"), str(folder / "calib.npz"), "0.5"]


if __name__ == "__main__":
    main()
