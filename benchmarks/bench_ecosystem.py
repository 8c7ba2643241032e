"""spa before and after onnxsim, onnxslim, onnxruntime's graph optimisation and its quantisation, on trained models.

    python benchmarks/bench_ecosystem.py [--models resnet20,digits_vit,...] [--images 5000] [--left 0.7] [--only WORD]

Every step of every chain is a row: what is left of the parameters and MACs that spa reads, the file's size, and the
latency (one thread, one sample, medians of rounds in which all files of a model take turns), as fractions of the
original's; accuracy where there are labels, else relative L2 drift and how often the arg-max agrees, on samples that
neither spa nor the quantiser saw. Exits with 1 if a step failed (that spa refuses one, with a reason, is no failure).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from ecosystem_models import Case, Feeds, case_of
from ecosystem_tools import STEPS, spa, static

import spa_cli
from spa_cli.errors import SpaError
from spa_cli.verification.drift import drift

CHAINS = (
    "spa > static",
    "static > spa",
    "onnxsim > spa > static",
    "spa > onnxsim > static",
    "onnxslim > spa > static",
    "spa > onnxslim > static",
    "ORT basic > spa",
    "spa > ORT basic",
    "ORT extended > spa",
    "spa > ORT extended",
    "ORT all > spa",
    "spa > ORT all",
    "dynamic > spa",
    "spa > dynamic",
)
SECONDS, ROUNDS = 30.0, 200


def session_of(path: Path) -> ort.InferenceSession:
    """One thread, so that what runs beside it matters less."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def outputs_of(path: Path, case: Case) -> list[Any]:
    """All outputs, held-out batch by batch; only the scores where there are labels."""
    session = session_of(path)
    return [o for feed in case.held_out for o in session.run([case.scores] if case.labels is not None else None, feed)]


def quality(case: Case, before: list[Any], after: list[Any]) -> str:
    """Accuracy, else drift and agreement."""
    if case.labels is not None:
        return f"{100 * float((np.concatenate(after).argmax(1) == case.labels).mean()):.2f} %"
    moved = drift(before, after)
    return f"{moved.relative_l2:.3f}" + ("" if moved.agreement is None else f" ({100 * moved.agreement:.1f} %)")


def medians(files: dict[str, Path], feed: Feeds) -> dict[str, float]:
    """Seconds per run: all take turns until time is up."""
    sessions = {name: session_of(path) for name, path in files.items()}
    took: dict[str, list[float]] = {name: [] for name in files}
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end and len(took[""]) < ROUNDS + 3:
        for name, session in sessions.items():
            start = time.perf_counter()
            session.run(None, feed)
            took[name].append(time.perf_counter() - start)
    return {name: float(np.median(t[min(3, len(t) - 1) :])) for name, t in took.items()}


def costs(path: Path) -> tuple[int, int]:
    """Parameters and MACs as ``spa inspect`` reads them."""
    found = spa_cli.inspect(path).costs
    return found.params, found.macs


def make(case: Case, chains: list[str], folder: Path, left: float) -> tuple[dict[str, Path], dict[str, str]]:
    """(the file after every step, why a step failed): steps that chains share are done once."""
    calib = folder / "calib.npz"
    np.savez(calib, **case.calib)
    steps = STEPS | {"spa": partial(spa, left=left), "static": partial(static, wide=case.wide)}
    made, failed = {"": case.path}, dict[str, str]()
    for chain in chains:
        names = chain.split(" > ")
        for i, name in enumerate(names):
            done, before = " > ".join(names[: i + 1]), " > ".join(names[:i])
            if done in made or done in failed or before not in made:
                continue
            out = folder / f"{len(made) + len(failed)}.onnx"
            try:
                steps[name](made[before], out, calib)
                session_of(out)
            except SpaError as error:
                failed[done] = f"refused: {str(error)[:110]}"
                continue
            except Exception as error:  # noqa: BLE001 - a failed step is a row of the table
                failed[done] = " ".join(f"failed: {type(error).__name__}: {error}".split())[:160].replace("|", "/")
                continue
            made[done] = out
    return made, failed


def table(case: Case, chains: list[str], left: float) -> dict[str, str]:
    """Print a model's rows; what failed."""
    print("| steps | parameters | MACs | size | latency | quality |\n|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as name:
        made, failed = make(case, chains, Path(name), left)
        first = {n: a[:1] for n, a in case.held_out[0].items()}
        seconds = medians(made, first)
        reference, (params, macs), size = outputs_of(case.path, case), costs(case.path), case.path.stat().st_size
        for steps, path in made.items():
            p, m = costs(path)
            after = outputs_of(path, case)
            shares = (p / params, m / max(macs, 1), path.stat().st_size / size, seconds[steps] / seconds[""])
            cells = " | ".join(f"{share:.2f}" for share in shares)
            print(f"| {steps or 'original'} | {cells} | {quality(case, reference, after)} |", flush=True)
        for steps, why in failed.items():
            print(f"| {steps} | | | | | {why} |", flush=True)
    return failed


def main() -> None:
    """Print a table per model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="resnet20,yolox_nano,magika_v1,digits_vit,digits_lstm")
    parser.add_argument("--real", type=Path, default=Path("../shared/real"))
    parser.add_argument("--bench", type=Path, default=Path("../shared/bench"))
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--left", type=float, default=0.7, help="of the MACs")
    parser.add_argument("--only", default="", help="chains with this word")
    args = parser.parse_args()
    chains = [chain for chain in CHAINS if args.only in chain]
    bad = 0
    for name in args.models.split(","):
        print(f"\n{name}:\n")
        failed = table(case_of(name, args.real, args.bench, args.images), chains, args.left)
        bad += sum(why.startswith("failed") for why in failed.values())
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
