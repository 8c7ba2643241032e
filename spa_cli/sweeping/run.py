"""``spa sweep``: one preparation, many budgets, a record of each."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import onnx

from spa_cli.errors import ModelError, UnreachableError, UsageError
from spa_cli.fingerprint import choices, contents, program
from spa_cli.graph.save import check_writable
from spa_cli.options import Options
from spa_cli.prepare import Prepared, prepare
from spa_cli.progress import within
from spa_cli.runtime.load import load
from spa_cli.runtime.providers import on_its_providers
from spa_cli.sweeping.points import Point, Progress, Sensitivity, mark_pareto
from spa_cli.sweeping.sensitivity import sensitivities
from spa_cli.trial.cutting import Cutting, cut_to
from spa_cli.verification.quality import Measured, Quality

Model: TypeAlias = str | os.PathLike[str] | onnx.ModelProto
COINS = ("ratio", "target_macs", "target_params", "target_latency")
POINTS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)


@dataclass(frozen=True, eq=False)
class Sweep:
    """All points, largest model first, and the groups, most sensitive first; ``about``: what they were measured on."""

    model: str
    coin: str
    points: list[Point]
    sensitivity: list[Sensitivity]
    original: Measured
    about: str
    warnings: list[str]


@on_its_providers
def sweep(
    model: Model,
    folder: Path,
    options: Options,
    coin: str = "target_macs",
    budgets: tuple[float, ...] = POINTS,
    *,
    keep_models: bool = False,
    force: bool = False,
) -> Sweep:
    """Try every budget and record what it leaves in ``folder``/sweep.json; go on there if it was interrupted.

    ``options`` say everything but the budget. Raises the errors of ``spa_cli.errors``; a budget that can't be reached
    is a point that says so.
    """
    if coin not in COINS:
        names = ", ".join(c.removeprefix("target_") for c in COINS)
        raise UsageError(f"--by {coin.removeprefix('target_')} can't be swept; use one of {names}")
    wanted = sorted(set(budgets), reverse=coin != "ratio")
    options = replace(options.with_budget(coin, wanted[0]), sweeping=True)
    for value in wanted[1:]:
        options.with_budget(coin, value)
    source = load(model)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"the folder '{folder}' can't be made: {error.strerror or error}; name another") from error
    key = {"program": program(), "model": contents(source), "by": coin, **choices(options)}
    state = Progress(folder / "sweep.json", key, force)
    for value in wanted:
        kept = _kept(folder, coin, value)
        if keep_models and value not in state.points:
            check_writable(kept, source, force)
    prepared = prepare(source, options, folder / "model.onnx")
    quality = Quality(prepared.subject, options)
    for number, value in enumerate(wanted):
        kept = _kept(folder, coin, value)
        if value in state.points and (not keep_models or kept.exists() or state.points[value].refused):
            continue
        with within(f"{number + 1} of {len(wanted)}, {coin.removeprefix('target_')} {value:g}"):
            point = _point(prepared, options.with_budget(coin, value), value, quality, kept if keep_models else None)
        state.add(point)
    if not state.sensitivity:
        state.sensitivity = sensitivities(prepared, quality.drift_of)
        state.write()
    points = mark_pareto([state.points[v] for v in wanted])
    if all(p.refused for p in points):
        raise UnreachableError(f"none of the budgets can be met: {points[0].refused}")
    warnings = [*prepared.doubts, *(prepared.curvature.warnings() if prepared.curvature else [])]
    return Sweep(source.name, coin, points, state.sensitivity, quality.of_original(), quality.about, warnings)


def _kept(folder: Path, coin: str, value: float) -> Path:
    """Where the model of a point is kept."""
    return folder / f"{coin.removeprefix('target_')}-{value:g}.onnx"


def _point(prepared: Prepared, options: Options, value: float, quality: Quality, keep: Path | None) -> Point:
    try:
        towards = prepared if keep is None else replace(prepared, attempts=prepared.attempts.towards(keep))
        cutting = cut_to(towards, options)
    except (UnreachableError, ModelError) as error:
        return Point(value, refused=str(error))
    try:
        found = _measure(prepared, cutting, value, quality.of(cutting.made.staged.path))
        if keep is not None:
            cutting.made.staged.publish(keep)
        return found
    finally:
        cutting.made.staged.discard()


def _measure(prepared: Prepared, cutting: Cutting, value: float, measured: Measured) -> Point:
    costs, source = prepared.subject.analysis.costs, prepared.subject.source
    params, macs = costs.after(cutting.made.selection)
    timing = cutting.timing or prepared.attempts.latency_of(cutting.made)
    return Point(
        asked=value,
        macs=macs / max(costs.macs, 1),
        params=params / costs.params,
        bytes=cutting.made.staged.bytes / source.bytes,
        latency=timing.left,
        seconds=(timing.before, timing.after),
        drift=measured.drift.relative_l2,
        agreement=measured.drift.agreement,
        accuracy=measured.accuracy,
    )
