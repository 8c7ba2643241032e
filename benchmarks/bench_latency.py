"""Whether smaller is faster: every model at 0.7 and 0.5 of its MACs, by the default widths, timed beside the original.

    python benchmarks/bench_latency.py [--fractions 0.7,0.5] [--method l2] [--round-to auto] [--models a.onnx,b.onnx]

The sample models, and what there is in ../shared/real, ../shared/imagenet and ../shared/tasks. How fast a file is
depends on its widths, not on its weights, so channels are chosen by l2 and nothing is repaired; ``--method obspa`` does
as the default does. Latency is after / before by the fastest tenth of the runs, in turns, on one thread and on all.

The last line is the geometric mean of (time saved / MACs saved) over models of which layers take more than half of the
time; what is saved counts as a hundredth at least. Models that take less than 0.1 ms are not in it: that is overhead of
a call, and a profile, whose unit is the microsecond, can't tell what layers take of it.
"""

from __future__ import annotations

import argparse
import contextlib
import math
from pathlib import Path

import spa_cli
from spa_cli.operators import contracting
from spa_cli.runtime.made_up import synthetic
from spa_cli.runtime.profile import profile

SHARED = ("real/models", "imagenet", "tasks")
# seconds; of less a profile does not tell who takes them
SHORTEST = 1e-4


def models(shared: Path) -> list[Path]:
    """The sample models, and those of the shared folders."""
    found = [*Path("sample_models").glob("*.onnx")]
    for folder in SHARED:
        found += (shared / folder).glob("*.onnx")
    return sorted(found)


def share(result: spa_cli.result.Result, feeds: dict[str, object], whole: float) -> float:
    """What layers take of the original's time: of its kernels', or of a whole call's where that is more (a model that
    takes microseconds spends most of them around its kernels). ``whole``: seconds of a call, on all threads as well.
    """
    source = result.source
    (found,) = profile([(source.model, source.folder)], [feeds], contracting(), seconds=1.0)
    layers = {n.label for n in result.analysis.costs.nodes}
    return sum(seconds for name, seconds in found.nodes.items() if name in layers) / max(found.total, whole)


def one(path: Path, fraction: float, method: str, round_to: str) -> tuple[str, float | None]:
    """A row of the table; time saved / MACs saved, ``None`` where layers are not what takes the time."""
    options = {"target_macs": fraction, "method": method, "round_to": round_to, "repair": method == "obspa"}
    try:
        result = spa_cli.prune(path, **options)
    except spa_cli.errors.SpaError as error:
        return f"| {path.stem} | {fraction:g} | {str(error)[:60]} | | | | | |", None
    left = result.after.macs / result.before.macs
    # of one sample, or of as many as there have to be
    least = min((one.batch for one in result.timings), default=1)
    singles = [one for one in result.timings if one.batch == least and not one.tidied]
    ratios = [f"{one.timing.quiet_left:.2f} ({one.timing.left:.2f})" for one in singles]
    # on all threads, as the first is
    whole = singles[0].timing.before if singles else 0.0
    part = math.nan
    with contextlib.suppress(Exception):
        part = share(result, synthetic(result.analysis.graph, result.analysis.input_shapes, 0), whole)
    saved = max(1 - singles[0].timing.quiet_left, 0.01) / (1 - left) if singles else None
    widths = ", ".join(f"{m}: {n}" for m, n in result.plan.about["multiples"].items())
    row = f"| {path.stem} | {left:.2f} | {whole * 1e3:.2g} | {' | '.join(ratios)} | {part:.0%} | {widths} |"
    return row, saved if part > 0.5 and whole >= SHORTEST else None


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fractions", default="0.7,0.5")
    parser.add_argument("--method", default="l2")
    parser.add_argument("--round-to", default="auto")
    parser.add_argument("--models", default="")
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    args = parser.parse_args()
    paths = [Path(p) for p in args.models.split(",") if p] or models(args.shared)
    for fraction in map(float, args.fractions.split(",")):
        print("| model | MACs | ms | all threads, fastest (median) | one thread | layers | groups by multiple |")
        print("|---|---|---|---|---|---|---|")
        found = []
        for path in paths:
            row, saved = one(path, fraction, args.method, args.round_to)
            print(row, flush=True)
            found += [] if saved is None else [saved]
        if found:
            mean = math.exp(sum(map(math.log, found)) / len(found))
            print(f"\ntime saved / MACs saved, geometric mean of {len(found)} models: {mean:.2f}\n", flush=True)


if __name__ == "__main__":
    main()
