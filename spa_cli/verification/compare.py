"""Comparing a model with its pruned version: what ``spa verify`` reports."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import onnx

from spa_cli.analysis import analyse_model
from spa_cli.errors import VerificationError
from spa_cli.graph.load import Source, load
from spa_cli.plan import Plan, to_selection
from spa_cli.surgery.apply import cut
from spa_cli.surgery.cut import Cut
from spa_cli.verification.check import Drift, drift, latency, verify_file, zeroing_differs
from spa_cli.verification.feeds import first_run
from spa_cli.verification.session import passes_checker, target


@dataclass(frozen=True)
class Comparison:
    """``zeroing``: with a plan, "equal" or how the plan's cut differs from zeroing what it removes."""

    drift: Drift
    bytes: tuple[int, int]
    params: tuple[int, int]
    macs: tuple[int, int]
    seconds: tuple[float, float]
    samples: str
    zeroing: str | None


def compare(
    model: str | os.PathLike[str] | onnx.ModelProto,
    pruned: str | os.PathLike[str] | onnx.ModelProto,
    plan: Path | None,
    calib: Path | None,
    input_shape: dict[str, tuple[int, ...]],
) -> Comparison:
    """Run both models side by side; raises VerificationError if the second can't take the first one's place."""
    before, after = load(model), load(pruned)
    analysis = analyse_model(before, input_shape)
    feeds, reference = first_run(before, analysis, calib, 256, seed=1)
    checked = passes_checker(before)
    outputs = verify_file(target(after), before.model, checked, reference, feeds, free=analysis.free_sizes())
    small = analyse_model(after, input_shape)
    zeroing = None
    if plan is not None:
        read = Plan.read(plan)
        selection = to_selection(read, analysis)
        work = cut(analysis.graph, analysis.state, analysis.grouping, selection, {})
        _check_shapes(work, after, read)
        zeroing = zeroing_differs(analysis.graph, work, feeds, target(after)) or "equal"
    timing = latency(target(before), target(after), feeds)
    return Comparison(
        drift=drift(reference, outputs),
        bytes=(before.bytes, after.bytes),
        params=(analysis.costs.params, small.costs.params),
        macs=(analysis.costs.macs, small.costs.macs),
        seconds=(timing.before, timing.after),
        samples=f"{calib}" if calib else "synthetic inputs",
        zeroing=zeroing,
    )


def _check_shapes(work: Cut, after: Source, plan: Plan) -> None:
    found = {n: tuple(t.dims) for n, t in after.graph.parameters.items()}
    for name in (*plan.kept, *plan.hidden):
        if name in found and found[name] != work.shape(name):
            raise VerificationError(f"'{name}' has shape {found[name]}, the plan leaves {work.shape(name)}")
