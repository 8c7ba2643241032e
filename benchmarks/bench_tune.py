"""What training towards the original wins back, without labels: the table of docs/tune.md.

python benchmarks/bench_tune.py --data BENCH [--minutes M | --epochs N] [--loss divergence] [--starts spa,torch-pruning]

The folder is that of bench_accuracy.py. ``--loss divergence``: of probabilities, instead of the squares of logits.
``--starts torch-pruning``: the same training from what Torch-Pruning leaves, with BatchNorm recalibrated on the same
images (in the environment of bench_compare.py).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import onnx
from bench_accuracy import accuracy, normalised

import spa_cli
from spa_cli.measures.classes import LOGITS
from spa_cli.tuning import terms

SAMPLES = 2048
# images of these, or none
DATA = {"CIFAR-10": "cifar10_calib", "CIFAR-100": "cifar100_calib", "none": None}


def by_divergence() -> None:
    """Let scores of classes be compared as probabilities."""
    terms._logits = lambda *_: ""  # type: ignore[assignment]
    numbers = terms._of_output

    def of_output(recogniser, at, name, value, pair):  # noqa: ANN001
        taken = recogniser.output(at)
        alone = taken.form == LOGITS
        return [terms.Term(name, LOGITS, taken.axis)] if alone else numbers(recogniser, at, name, value, pair)

    terms._of_output = of_output  # type: ignore[assignment]


def by_spa(dense: Path, small: Path, left: float, calib: Path | None) -> None:
    """Prune and repair."""
    samples = {} if calib is None else {"calib": calib, "calib_samples": 512}
    plan = small.with_suffix(".json")
    spa_cli.prune(dense, small, force=True, target_macs=left, round_to=1, plan_out=plan, **samples)


def by_torch_pruning(dense: Path, small: Path, left: float, calib: Path | None) -> None:
    """Prune by the group's L2, shortcuts left whole, and recalibrate BatchNorm."""
    import torch
    from compare_models import module_of
    from compare_tools import macs, searched
    from compare_torch import BEST, maker

    assert calib is not None
    samples = np.load(calib)["input"][:512]
    module = module_of(dense.stem, dense)
    assert module is not None
    torch.manual_seed(0)
    run = searched("", maker(module, samples, BEST, True), small.with_name("tp.onnx"), left * macs(dense))
    assert run.path is not None, run.note
    model = onnx.load(run.path)
    # as the teacher's is called
    (mine,), (wanted,) = model.graph.output, onnx.load(dense).graph.output
    for node in model.graph.node:
        node.output[:] = [wanted.name if name == mine.name else name for name in node.output]
    mine.name = wanted.name
    onnx.save(model, small)


STARTS: dict[str, Callable[[Path, Path, float, Path | None], None]] = {
    "spa": by_spa,
    "torch-pruning": by_torch_pruning,
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--epochs", type=int, help="instead of minutes")
    parser.add_argument("--models", default="resnet20,resnet56")
    parser.add_argument("--factors", default="2,3")
    parser.add_argument("--images", default="CIFAR-10")
    parser.add_argument("--starts", default="spa")
    parser.add_argument("--loss", choices=("logits", "divergence"), default="logits")
    args = parser.parse_args()
    if args.loss == "divergence":
        by_divergence()
    long = {"minutes": args.minutes} if args.epochs is None else {"epochs": args.epochs}
    images, labels = normalised(args.data / "cifar10_test.npz"), np.load(args.data / "cifar10_test.npz")["y"]
    print("| network | MACs | by | images | pruned | tuned | steps | loss |\n|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for kind in args.images.split(","):
            calib = None
            if DATA[kind] is not None:
                calib = folder / f"{kind}.npz"
                np.savez(calib, input=normalised(args.data / f"{DATA[kind]}.npz")[:SAMPLES])
            for name in args.models.split(","):
                dense = args.data / f"{name}.onnx"
                for factor, start in product(map(float, args.factors.split(",")), args.starts.split(",")):
                    small, out = folder / "small.onnx", folder / "tuned.onnx"
                    STARTS[start](dense, small, 1 / factor, calib)
                    given = {} if calib is None else {"calib": calib}
                    if start == "spa":
                        given["plan"] = small.with_suffix(".json")
                    result = spa_cli.tune(small, dense, out, force=True, **long, **given)
                    before, after = (accuracy(file, images, labels) for file in (small, out))
                    done = result.tuned.training
                    row = (name, f"1/{factor:g}", start, kind, f"{before:.2f}", f"{after:.2f}", done.steps)
                    print(f"| {' | '.join(map(str, row))} | {done.best:.2f} |", flush=True)


if __name__ == "__main__":
    main()
