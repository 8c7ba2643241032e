"""Whether training ever makes a file worse: every model of some folders that can be pruned, pruned and trained shortly.

    python benchmarks/bench_tune_zoo.py [--data ../shared/zoo/models,../shared/real/models] [--seconds 20] [--ratio 0.3]
        [--models one,another]

A row a model: the loss on held-back samples, of that of the start, with the weights read back from the file that was
written; how far outputs are from the original's before and after; steps. Exits with 1 if a loss grew.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import spa_cli
from spa_cli.adjoints.trainable import numbers
from spa_cli.errors import SpaError
from spa_cli.graph.model import Graph
from spa_cli.runtime.load import load
from spa_cli.tuning import tune
from spa_cli.tuning.match import Match

# by rounding, where the same weights are judged twice
SAME = 1e-4
# of the last training: the networks, and the samples that were held back
last: list[tuple[Match, Any]] = []


def watched(match: Match, batches: Any, judges: Any, *given: Any) -> Any:
    """Train, and keep what is needed to judge any weights as it did."""
    last[:] = [(match, judges)]
    return train(match, batches, judges, *given)


def judged(graph: Graph) -> float:
    """The loss of a file's weights, of that of the start."""
    ((match, judges),) = last
    start, weights = match.gradients.start(), {n: numbers(graph.array(n)) for n in match.gradients.names}
    return match.held(judges, weights) / max(match.held(judges, start), 1e-12)


train, tune.train = tune.train, watched


def row(path: Path, folder: Path, seconds: float, ratio: float) -> tuple[str, str]:
    """What became of a model, in a word, and its row."""
    small, out = folder / "small.onnx", folder / "tuned.onnx"
    try:
        spa_cli.prune(path, small, force=True, ratio=ratio)
    except SpaError as error:
        return "not pruned", str(error)
    try:
        result = spa_cli.tune(small, path, out, force=True, minutes=seconds / 60)
    except SpaError as error:
        return "not trained", str(error)
    done, loss = result.tuned.training, judged(load(out).graph)
    before, after = (d.relative_l2 for d in result.drift)
    word = "worse" if loss > 1 + SAME else "as it was" if done.weights is None else "better"
    return word, f"loss {loss:.4f}, drift {before:.3g} -> {after:.3g}, {done.steps} steps at {done.rate:g}"


def main() -> None:
    """Print the rows and how many there are of each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="../shared/zoo/models,../shared/real/models")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--ratio", type=float, default=0.3)
    parser.add_argument("--models", default="")
    args = parser.parse_args()
    wanted, total = {*args.models.split(",")} - {""}, Counter[str]()
    paths = [p for folder in args.data.split(",") for p in sorted(Path(folder).glob("*.onnx"))]
    for path in paths:
        if wanted and path.stem not in wanted:
            continue
        with tempfile.TemporaryDirectory() as folder:
            word, text = row(path, Path(folder), args.seconds, args.ratio)
        total[word] += 1
        print(f"{path.name}: {word}: {text}", flush=True)
    print(dict(total))
    sys.exit(1 if total["worse"] else 0)


if __name__ == "__main__":
    main()
