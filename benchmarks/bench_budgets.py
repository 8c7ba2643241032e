"""Whether budgets hold: five targets of each kind on every model of a folder, met, met from below and said, or refused.

    python benchmarks/bench_budgets.py [--data ../shared/zoo/models] [--kinds macs,params,size,ratio] [--method l1]
        [--round-to 1,8,16,auto] [--models one,another]

Never more than was asked; no less than 2 % of the original below it, unless the summary says that nothing is nearer;
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


def reached(ranked: Ranked, request: Request, kind: str, asked: float) -> tuple[float, tuple[int, int], str]:
    """What is left in the coin of the budget, as a fraction of the original; (parameters, MACs); why it is less."""
    analysis = ranked.subject.analysis
    with Trials(ranked.subject, ranked.curvature, None, request.options.method) as trials:
        choice = choose_by_budget(ranked, request, trials)
        selection = choice.selection
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
    return left[kind], (params, macs), choice.short


def judged(kind: str, asked: float, left: float, channels: int, short: str) -> str:
    """What became of a target: "met", "below" (and said), or "missed"."""
    if kind == "ratio":
        # as many as are asked for go at least, to the nearest channel
        left, asked = 1 - left, 1 - asked + 0.5 / channels
    if kind == "latency":
        return "met" if abs(left - asked) <= LATENCY * asked else "missed"
    if left > asked + 1e-9:
        return "missed"
    near = asked - left <= TOLERANCE + (1 / channels if kind == "ratio" else 0) + 1e-6
    return "met" if near else "below" if short else "missed"


def check(path: Path, kinds: list[str], method: str, round_to: str) -> list[str]:
    """One model: a word per target ("met", "below", "refused", "missed ..."); [] if nothing in it can be pruned."""
    base = Request.of(Options(ratio=0.5, method=method, round_to=round_to))
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
                left, costs, short = reached(ranked, base.with_budget(name, value), kind, asked)
            except UnreachableError:
                found.append("refused")
                continue
            except SpaError as error:
                found.append(f"missed {path.name} {kind} {asked}: {error}")
                continue
            sizes.append(costs)
            word = judged(kind, asked, left, ranked.subject.analysis.channels, short)
            found.append(f"missed {path.name} {kind} {asked}: {left:.4f}" if word == "missed" else word)
        # ratios go down, so models grow
        if (
            kind == "ratio"
            and round_to == "1"
            and any(a > b for one, two in pairwise(sizes) for a, b in zip(one, two, strict=True))
        ):
            found.append(f"missed {path.name}: a larger ratio gave a larger model")
    return found


def main() -> None:
    """Print what was missed, then how many were met and refused."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/zoo/models"))
    parser.add_argument("--kinds", default="macs,params,size,ratio")
    parser.add_argument("--method", default="l1")
    parser.add_argument("--round-to", default="1")
    parser.add_argument("--models", default="")
    args = parser.parse_args()
    total, start = Counter[str](), time.perf_counter()
    wanted = {*args.models.split(",")} - {""}
    paths = [p for p in sorted(args.data.glob("*.onnx")) if not wanted or p.stem in wanted]
    for round_to in args.round_to.split(","):
        here = Counter[str]()
        for path in paths:
            for word in check(path, args.kinds.split(","), args.method, round_to):
                if word.startswith("missed"):
                    print(word, flush=True)
                here[word.split()[0]] += 1
        print(f"--round-to {round_to}: {dict(here)} in {time.perf_counter() - start:.0f} s", flush=True)
        total += here
    sys.exit(1 if total["missed"] else 0)


if __name__ == "__main__":
    main()
