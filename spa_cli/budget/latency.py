"""Latency, measured in onnxruntime on this machine: a table per group, and what a cut would leave."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np

from spa_cli.budget.choose import Order, Step
from spa_cli.channels.groups import Grouping
from spa_cli.channels.ranking import Ranking
from spa_cli.channels.selection import Selection
from spa_cli.errors import UnreachableError
from spa_cli.progress import stage, tracked

LATENCY_TOLERANCE = 0.05
# near enough to stop looking, so that noise leaves room for confirming it
_NEAR = 0.02
# seconds for the table of all groups, and for one careful measurement
_SECONDS, _CAREFUL = 60.0, 1.5
_JUMPS = 4
Measure = Callable[[Selection, float], float]


class LatencyTable:
    """What half of each group's channels saves, measured one group at a time against the dense model.

    ``saved`` (g,): fraction of the latency that one channel of the group takes with it, at least 0; where time ran out,
    what its MACs save at the rate of the others. ``failed``: groups whose cut could not be measured.
    """

    def __init__(
        self,
        grouping: Grouping,
        rankings: list[Ranking],
        macs: list[int],
        groups: list[int],
        measure: Measure,
    ) -> None:
        self.saved, self.failed = np.zeros(len(grouping.groups)), set[int]()
        known = np.zeros(len(grouping.groups), bool)
        end = time.perf_counter() + _SECONDS
        each = min(0.5, _SECONDS / max(len(groups), 1))
        stage("measuring what each group saves")
        for index in tracked(sorted(groups, key=lambda i: -macs[i] * grouping.groups[i].channels)):
            half = grouping.groups[index].channels // 2
            if not half or time.perf_counter() > end:
                continue
            left = measure(part_of(grouping, rankings[index], index, half), each)
            if not np.isfinite(left):
                self.failed.add(index)
            else:
                self.saved[index], known[index] = max(1 - left, 0.0) / half, True
        work = np.array(macs, float)
        rate = self.saved[known].sum() / max(work[known].sum(), 1e-30) if known.any() else 0.0
        self.saved[~known] = rate * work[~known]

    def left(self, selection: Selection) -> float:
        """The latency that a selection would leave, if what groups save added up."""
        return 1 - float(sum(self.saved[i] * count for i, count in selection.gone.items()))


def part_of(grouping: Grouping, ranking: Ranking, index: int, gone: int) -> Selection:
    """Everything but the ``gone`` least important channels of one group."""
    selection = Selection(grouping)
    mask = np.ones(ranking.order.shape, bool)
    np.put_along_axis(mask, ranking.order[..., :gone], False, -1)
    selection.keep(index, mask)
    return selection


def walk_to(order: Order, table: LatencyTable, measure: Measure, asked: float, offset: float = 0.0) -> Selection:
    """What stays after the steps whose measured latency is nearest to ``asked`` (relative to the dense model's).

    ``offset``: what the finished file was seen to differ by.

    Where one step makes the latency jump past what is wanted (a kernel that likes other widths), its group is left as
    it is from there on. Raises UnreachableError if no walk comes within 5 %, with the closest that was measured.
    """
    # a group whose cut does not run alone does not run in company
    steps, closest, wanted = [s for s in order.steps if s.group not in table.failed], math.inf, asked + offset
    for _ in range(_JUMPS):
        best, reached, jump = _search(order, steps, table, measure, wanted)
        closest = min(closest, reached, key=lambda left: abs(left - wanted))
        if abs(reached - wanted) <= LATENCY_TOLERANCE * wanted:
            return order.selection(steps[:best])
        if jump is None:
            break
        steps = [*steps[:jump], *(s for s in steps[jump:] if s.group != steps[jump].group)]
    raise UnreachableError(
        f"--target-latency {asked:g} can't be met within {100 * LATENCY_TOLERANCE:.0f} %: "
        + (
            f"{closest:.3f} of the original, measured here, is the closest; ask for that, or loosen the constraints"
            if math.isfinite(closest)
            else "no cut of these groups could be measured; use --target-macs"
        )
    )


def _search(
    order: Order, steps: list[Step], table: LatencyTable, measure: Measure, wanted: float
) -> tuple[int, float, int | None]:
    """(how many steps, what they leave, the step at which the latency jumps past what is wanted if one does).

    The table says where to look first; every measurement corrects it.
    """
    saved = np.cumsum([0.0, *(table.saved[s.group] * s.count for s in steps)])
    low, high = 0, len(steps)
    at_low, at_high = 1.0, measure(order.selection(steps), _CAREFUL)
    best, reached = high, at_high
    if at_high > wanted:
        return best, reached, None
    while high - low > 1 and abs(reached - wanted) > _NEAR * wanted:
        # the table's savings between the two measured ends, scaled to what was measured there
        share = (at_low - wanted) / max(at_low - at_high, 1e-9)
        place = saved[low] + share * (saved[high] - saved[low])
        at = int(np.searchsorted(saved, place)) if saved[high] > saved[low] else (low + high) // 2
        # not too near an end: the table may be wrong
        margin = max(1, (high - low) // 8)
        at = min(max(at, low + margin), high - margin)
        found = measure(order.selection(steps[:at]), _CAREFUL)
        if abs(found - wanted) < abs(reached - wanted):
            best, reached = at, found
        if found > wanted:
            low, at_low = at, found
        else:
            high, at_high = at, found
    return best, reached, low if high - low <= 1 else None
