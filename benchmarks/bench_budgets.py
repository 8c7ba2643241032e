"""Whether budgets hold: five targets of each kind on every model of a folder, met within tolerance or refused.

    python benchmarks/bench_budgets.py [--data ../shared/zoo/models] [--kinds macs,params,size,ratio] [--method l1]

MACs, parameters, ratio: within 2 % of the original; file size: at most what was asked and within 2 % of the original;
latency (not by default: it needs a quiet machine): within 5 % of the request, measured once more beside the original,
by the median or by the fastest tenth of the runs.
A larger ratio must never give a larger model. Exits with 1 if any target was missed without a refusal.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

from spa_cli.errors import SpaError, UnreachableError
from spa_cli.options import Options
from spa_cli.request import Request
from spa_cli.runtime.load import load
from spa_cli.trial.choose import choose_by_budget
from spa_cli.trial.prepare import Ranked, analyse, score
from spa_cli.trial.trials import Trials

FRACTIONS = (0.9, 0.75, 0.6, 0.45, 0.3)
TOLERANCE, LATENCY = 0.02, 0.05


def reached(ranked: Ranked, request: Request, kind: str, asked: float) -> tuple[float, tuple[int, int]]:
    """What is left in the coin of the budget, as a fraction of the original; and (parameters, MACs)."""
    analysis = ranked.subject.analysis
    with Trials(ranked.subject, ranked.curvature, None, request.options.method) as trials:
        selection = choose_by_budget(ranked, request, trials).selection
        small = trials.cut(selection)
        size = small.staged.bytes
        timing = trials.latency_of(small) if kind == "latency" else None
    params, macs = analysis.costs.after(selection)
    left = {
        "macs": macs / max(analysis.costs.macs, 1),
        "params": params / analysis.costs.params,
        "size": size / ranked.subject.source.bytes,
        "ratio": selection.removed / analysis.channels,
        "latency": min((timing.left, timing.quiet_left), key=lambda t: abs(t - asked)) if timing else 0.0,
    }
    return left[kind], (params, macs)


def misses(kind: str, asked: float, left: float, channels: int) -> bool:
    """Whether a target was missed."""
    if kind == "ratio":
        return abs(left - asked) > max(TOLERANCE, 0.5 / channels) + 1e-9
    if kind == "latency":
        return abs(left - asked) > LATENCY * asked
    return not asked - TOLERANCE - 1e-9 <= left <= asked + 1e-9


def check(path: Path, kinds: list[str], method: str) -> list[str]:
    """One model: a word per target ("met", "refused", "missed ..."); [] if nothing in it can be pruned."""
    base = Request.of(Options(ratio=0.5, method=method, round_to=1))
    try:
        ranked = score(analyse(load(path), base), base)
    except SpaError as error:
        print(f"{path.name}: not pruned: {error}", flush=True)
        return []
    found = []
    for kind in kinds:
        sizes: list[tuple[int, int]] = []
        for asked in FRACTIONS:
            name = kind if kind == "ratio" else f"target_{kind}"
            value = int(asked * ranked.subject.source.bytes) if kind == "size" else asked
            try:
                left, costs = reached(ranked, base.with_budget(name, value), kind, asked)
            except UnreachableError:
                found.append("refused")
                continue
            except SpaError as error:
                found.append(f"missed {path.name} {kind} {asked}: {error}")
                continue
            sizes.append(costs)
            missed = misses(kind, asked, left, ranked.subject.analysis.channels)
            found.append(f"missed {path.name} {kind} {asked}: {left:.4f}" if missed else "met")
        # ratios go down, so models grow
        if kind == "ratio" and any(a > b for one, two in pairwise(sizes) for a, b in zip(one, two, strict=True)):
            found.append(f"missed {path.name}: a larger ratio gave a larger model")
    return found


def main() -> None:
    """Print what was missed, then how many were met and refused."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/zoo/models"))
    parser.add_argument("--kinds", default="macs,params,size,ratio")
    parser.add_argument("--method", default="l1")
    args = parser.parse_args()
    total, start = Counter[str](), time.perf_counter()
    for path in sorted(args.data.glob("*.onnx")):
        for word in check(path, args.kinds.split(","), args.method):
            if word.startswith("missed"):
                print(word, flush=True)
            total[word.split()[0]] += 1
    print(f"{dict(total)} in {time.perf_counter() - start:.0f} s")
    sys.exit(1 if total["missed"] else 0)


if __name__ == "__main__":
    main()
