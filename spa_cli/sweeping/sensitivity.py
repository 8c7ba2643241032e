"""What losing channels does when nothing is repaired: group by group, and of all of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from spa_cli.budget.menu import kept
from spa_cli.budget.solve import Solver
from spa_cli.channels.selection import Selection
from spa_cli.graph.view import build
from spa_cli.progress import stage
from spa_cli.runtime.session import Openable
from spa_cli.runtime.widened import widened
from spa_cli.sweeping.points import Sensitivity
from spa_cli.trial.prepare import Ranked
from spa_cli.verification.subject import Subject

DriftOf = Callable[[Openable], float]


def sliced_drift(subject: Subject, selection: Selection, drift_of: DriftOf) -> float | None:
    """Drift after a cut that nothing repairs; ``None`` where it does not run or no output is a number."""
    analysis, source = subject.analysis, subject.source
    try:
        work = analysis.cut(selection)
        moved = drift_of(widened(build(work.model, source.folder).in_memory(), work.states))
    except Exception:  # noqa: BLE001 - whatever onnxruntime raises: such a cut tells nothing
        return None
    return moved if math.isfinite(moved) else None


def sensitivities(ranked: Ranked, drift_of: DriftOf, seconds: float = math.inf) -> list[Sensitivity]:
    """Per group, the drift when half of it goes, alone; the most sensitive first.

    Groups of most MACs are tried first; those that ``seconds`` are too few for are not in the list.
    """
    analysis, end = ranked.subject.analysis, time.perf_counter() + seconds
    groups, costs = analysis.grouping.groups, analysis.costs
    wide = [i for i, g in enumerate(groups) if g.channels > 1]
    if seconds < math.inf:
        wide.sort(key=lambda i: -costs.per_channel(i, groups[i])[1] * groups[i].channels)
    found: dict[int, Sensitivity] = {}
    for number, index in enumerate(wide):
        if time.perf_counter() > end:
            break
        group = groups[index]
        stage(f"how sensitive each group is: {number + 1} of {len(wide)}")
        ranking = ranked.rankings[index]
        selection = Selection(analysis.grouping)
        selection.keep(index, kept(ranking, group.channels // 2))
        params, macs = costs.after(selection)
        moved = sliced_drift(ranked.subject, selection, drift_of)
        saved = (1 - macs / max(costs.macs, 1), 1 - params / costs.params)
        found[index] = Sensitivity(group.name, group.channels, moved, *saved)
    return sorted((found[i] for i in sorted(found)), key=lambda s: -(-1.0 if s.drift is None else s.drift))


def drift_along(
    ranked: Ranked, solver: Solver, fractions: tuple[float, ...], drift_of: DriftOf, seconds: float
) -> list[tuple[float, float]]:
    """(MACs left, drift) of what is chosen for each of ``fractions``, as long as there is time.

    Of parameters, where no MACs are counted.
    """
    costs, end = ranked.subject.analysis.costs, time.perf_counter() + seconds
    found: dict[float, float] = {}
    for number, fraction in enumerate(fractions):
        if time.perf_counter() > end:
            break
        stage(f"drift against what is left: {number + 1} of {len(fractions)}")
        solution = solver.solve({costs.coin: fraction})
        if solution is None or not solution.gone:
            continue
        selection = solver.menu.selection(solution.gone)
        moved = sliced_drift(ranked.subject, selection, drift_of)
        if moved is not None:
            found[costs.left(selection)] = moved
    return sorted(found.items(), reverse=True)
