"""Accuracy of CIFAR-10 ResNets by importance: every criterion, aggregation and normalisation, sliced and repaired.

    python benchmarks/bench_importance.py [--data ../shared/bench] [--models resnet20,resnet56] [--rf 1.5,2]
                                          [--only criteria,aggregations,normalisations,ensembles] [--methods snip,...]
                                          [--samples 512] [--images 10000] [--jobs 2]

``--samples`` training images serve criteria that look at data, and the repair; accuracy is on ``--images`` test images.
Aggregations and normalisations are those of ``--method l2``.
"""

from __future__ import annotations

import argparse
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from bench_accuracy import accuracy, normalised

from spa_cli.importance.aggregation import AGGREGATIONS
from spa_cli.importance.criteria import CRITERIA
from spa_cli.importance.normalisation import NORMALISATIONS
from spa_cli.options import Options
from spa_cli.request import Request
from spa_cli.runtime.load import load
from spa_cli.trial.choose import choose_by_budget
from spa_cli.trial.prepare import analyse, score
from spa_cli.trial.trials import Trials

ENSEMBLES = ("obspa+wanda", "wanda+fpgm", "l1+snip")
Row = dict[str, str]


def rows(only: list[str]) -> list[Row]:
    """The options of every row."""
    found: list[Row] = []
    if "criteria" in only:
        found += [{"method": name} for name in CRITERIA if name != "scores"]
    if "aggregations" in only:
        found += [{"method": "l2", "aggregation": name} for name in AGGREGATIONS]
    if "normalisations" in only:
        found += [{"method": "l2", "aggregation": "rss", "normalisation": name} for name in NORMALISATIONS]
    if "ensembles" in only:
        found += [{"method": name} for name in ENSEMBLES]
    return found


def one(model: Path, calib: Path, test: Path, row: Row, factors: list[float], samples: int) -> list[str]:
    """Accuracy in percent for every factor, sliced and repaired."""
    data = np.load(test)
    cells = []
    try:
        options = Options(target_macs=0.5, calib=calib, calib_samples=samples, repair=True, round_to=1, **row)  # type: ignore[arg-type]
        request = Request.of(options)
        ranked = score(analyse(load(model), request), request)
        for factor in factors:
            for curvature in (None, ranked.curvature):
                with Trials(ranked.subject, curvature, None, options.method) as trials:
                    choice = choose_by_budget(ranked, request.with_budget("target_macs", 1 / factor), trials)
                    small = trials.cut(choice.selection)
                    trials.repair(small)
                    trials.verify(small)
                    cells.append(f"{accuracy(small.staged.path, data['x'], data['y']):.2f}")
    except Exception as error:  # noqa: BLE001 - a failed run is a row of the table
        return [f"{type(error).__name__}: {str(error)[:80]}", *[""] * (2 * len(factors) - 1)]
    return cells


def main() -> None:
    """Print one row per choice."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/bench"))
    parser.add_argument("--models", default="resnet20,resnet56")
    parser.add_argument("--rf", default="1.5,2")
    parser.add_argument("--only", default="criteria,aggregations,normalisations,ensembles")
    parser.add_argument("--methods", help="only rows of these methods")
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--images", type=int, default=10000)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    factors = [float(f) for f in args.rf.split(",")]
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(args.jobs) as pool:
        calib, test = Path(folder) / "calib.npz", Path(folder) / "test.npz"
        labelled = np.load(args.data / "cifar10_calib.npz")
        extra = {"labels": labelled["y"]} if "y" in labelled.files else {}
        np.savez(calib, input=normalised(args.data / "cifar10_calib.npz"), **extra)
        images, labels = normalised(args.data / "cifar10_test.npz"), np.load(args.data / "cifar10_test.npz")["y"]
        each = max(1, len(images) // args.images)
        np.savez(test, x=images[::each], y=labels[::each])
        head = " | ".join(f"{f:g}x sliced | {f:g}x repaired" for f in factors)
        print(f"| model | method | aggregation | normalisation | {head} |")
        print("|---" * (4 + 2 * len(factors)) + "|")
        methods = args.methods.split(",") if args.methods else None
        wanted = [r for r in rows(args.only.split(",")) if methods is None or r["method"] in methods]
        for name in args.models.split(","):
            runs = [(args.data / f"{name}.onnx", calib, test, row, factors, args.samples) for row in wanted]
            for row, cells in zip(wanted, pool.map(one, *zip(*runs, strict=True)), strict=True):
                words = [row["method"], row.get("aggregation", ""), row.get("normalisation", "")]
                print(f"| {name} | {' | '.join([*words, *cells])} |", flush=True)


if __name__ == "__main__":
    main()
