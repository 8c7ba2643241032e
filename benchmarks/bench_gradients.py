"""Which weights of many models have no gradient, and why.

    python benchmarks/bench_gradients.py [FOLDER]... [--each] [--check]

Of every ``.onnx`` in the folders (``../shared/zoo/models`` and ``../shared/real/models``): how many of its weights have
a gradient in its outputs, and of the others the reasons, the most frequent first. ``--each``: a line a model.
``--check``: run it on synthetic inputs, and compare its outputs with the file's and a gradient with finite differences.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from spa_cli.adjoints.network import UNREACHED
from spa_cli.adjoints.weights import WeightGradients, weight_gradients
from spa_cli.analysis import Analysis, analyse_model
from spa_cli.derivatives.settle import settle
from spa_cli.derivatives.weights import weights_of
from spa_cli.errors import SpaError, first_line
from spa_cli.graph.formulas import made_by_formula
from spa_cli.graph.model import FLOAT_TYPES
from spa_cli.runtime.floats import last_floats
from spa_cli.runtime.load import load
from spa_cli.runtime.made_up import synthetic
from spa_cli.runtime.session import Feeds, open_session

SHARED = Path(__file__).resolve().parents[2] / "shared"
FOLDERS = [SHARED / "zoo" / "models", SHARED / "real" / "models"]


def gradients_of(path: Path) -> tuple[Analysis, Feeds, WeightGradients]:
    """The gradient graph at the shapes that the model is analysed at."""
    analysis = analyse_model(load(path), {})
    feeds = synthetic(analysis.graph, analysis.input_shapes, 0)
    settled, shapes = settle(analysis.graph, feeds)
    outputs = last_floats(settled, shapes)
    return analysis, feeds, weight_gradients(settled, shapes, weights_of(settled), outputs)


def checked(feeds: Feeds, found: WeightGradients) -> str:
    """The outputs' distance from the file's, and the slope along a random direction against finite differences."""
    rng, weights = np.random.default_rng(0), found.start()
    plain = open_session(found.graph.in_memory(), "all")
    taken = {n: v for n, v in feeds.items() if n in {i.name for i in plain.get_inputs()}}
    names = [n for n in found.given if n in found.graph.outputs]
    wanted = dict(zip(names, plain.run(names, taken), strict=True)) if names else {}
    outputs = found.recomputed(feeds, weights)
    scale = {n: max(float(np.abs(y).max(initial=0)), 1e-12) for n, y in outputs.items()}
    error = max(
        (float(np.abs(outputs[n] - np.asarray(y, np.float64)).max(initial=0)) / scale[n] for n, y in wanted.items()),
        default=0.0,
    )
    cotangents = {n: rng.standard_normal(y.shape) / scale[n] for n, y in outputs.items()}
    gradients = found.run(feeds, cotangents, weights)
    # masks and tables are weights to nobody, and may be as large as numbers are
    floats = {n: w for n, w in weights.items() if not made_by_formula(found.graph, n)}
    floats = {n: w for n, w in floats.items() if found.graph.parameters[n].data_type in FLOAT_TYPES}
    direction = {n: rng.standard_normal(w.shape) * max(float(np.abs(w).mean()), 1e-6) for n, w in floats.items()}
    slope = sum(float(np.sum(gradients[n].astype(np.float64) * v)) for n, v in direction.items())
    best = np.inf
    for step in (1e-2, 3e-3, 1e-3, 1e-4):
        sides = []
        for sign in (1, -1):
            moved = {n: w + sign * step * direction[n] if n in direction else w for n, w in weights.items()}
            found_there = found.outputs(feeds, moved)
            sides.append(sum(float(np.sum(cotangents[n] * y)) for n, y in found_there.items()))
        best = min(best, abs((sides[0] - sides[1]) / (2 * step) - slope) / max(abs(slope), 1e-12))
    return f"outputs {error:.1e}, slope {best:.1e}"


def kind(reason: str) -> str:
    """A reason without names of nodes and tensors."""
    return re.sub(r" '[^']*'", "", re.sub(r" \(node '.*?'\)", "", reason))


def main() -> int:
    """Print the tables; 1 if a model can't be looked at."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path, default=FOLDERS)
    parser.add_argument("--each", action="store_true")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    console, failed = Console(width=160), 0
    weights: Counter[str] = Counter()
    models: defaultdict[str, list[str]] = defaultdict(list)
    with_all = total = 0
    for path in sorted(p for folder in options.folders for p in folder.rglob("*.onnx")):
        try:
            _, feeds, found = gradients_of(path)
            told = checked(feeds, found) if options.check and found.names else ""
        except (SpaError, Exception) as error:  # noqa: BLE001 - a model that fails is a row
            console.print(f"{path.stem}: {type(error).__name__}: {first_line(error)}")
            failed += 1
            continue
        lacking = Counter(kind(why) for why in found.missing.values() if why != UNREACHED)
        total += 1
        with_all += not lacking
        for why, count in lacking.items():
            weights[why] += count
            models[why].append(path.stem)
        if options.each or told:
            rest = "; ".join(f"{count} {why}" for why, count in lacking.most_common())
            console.print(f"{path.stem}: {len(found.names)} weights {told} {rest}", highlight=False)
    table = Table(
        "weights", "models", "reason", "first", title=f"{with_all} of {total} models: every weight has a gradient"
    )
    for why, count in weights.most_common():
        table.add_row(str(count), str(len(models[why])), why, ", ".join(models[why][:3]))
    console.print(table)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
