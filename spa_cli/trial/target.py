"""What the budgets of size and speed ask for: choosing within them, confirming it on the finished file."""

from __future__ import annotations

import math
from dataclasses import dataclass

from spa_cli.analysis import Analysis
from spa_cli.budget.bill import CHANNELS, MACS, SECONDS, Bill
from spa_cli.budget.menu import Menu
from spa_cli.budget.solve import TOLERANCE, Solver
from spa_cli.channels.selection import Selection
from spa_cli.errors import UnreachableError
from spa_cli.request import Request
from spa_cli.runtime.timing import Timing
from spa_cli.trial.budgets import Budgets
from spa_cli.trial.trials import Trial, Trials
from spa_cli.verification.speed import is_slower
from spa_cli.verification.subject import Subject

# of latency, which is measured, as a fraction of what was asked for
LATENCY_TOLERANCE = 0.05
# how often a budget that only the finished file can confirm is aimed at again
_TRIES = 6
# for measuring what tidying alone leaves
_SECONDS = 1.5
# what a fraction of the time is worth beside a budget of something else, relative to the same fraction of that; more
# where the file turns out to be slower than the original
HURRY = (0.3, 1.0, 4.0)
# what may be lost for it, as a multiple of what is lost where time does not count: for 1.5 times as much BlazeFace at
# 0.7 of its MACs is faster than the original, and finds none of its boxes again
BEARABLE = (1.06, 1.2, 1.4)
# how well the bytes of a file are known where it is left smaller than it may be
_KNOWN = 0.001


@dataclass(frozen=True)
class Chosen:
    """Channels that go, by group; ``short``: why it is less than was asked for, "" where it isn't."""

    gone: dict[int, int]
    short: str = ""


def worth(menu: Menu, analysis: Analysis, coin: str, obspa: bool) -> dict[int, float]:
    """How much what a group (by index) loses counts under a budget in this coin; 1 where it isn't said.

    OBSPA's losses add up, whatever the budget. What is lost of channels that are merely counted is weighed against all
    that they save. Other criteria only say in which order channels go: whatever they save, one by one.
    """
    if obspa == (coin != CHANNELS):
        return {}
    each = {i: analysis.costs.per_channel(i, analysis.grouping.groups[i]) for i in menu.eligible}
    if obspa:
        return {i: 1 / math.sqrt(max(params, 1) * max(macs, 1)) for i, (params, macs) in each.items()}
    at = 1 if coin in (MACS, SECONDS) else 0
    return {i: float(max(both[at], 1)) for i, both in each.items()}


def unmeasured(device: str) -> str:
    """The warning that a latency is only predicted."""
    return f"--target-latency is predicted for '{device}', not measured; measure it there"


class Target:
    """The budgets of one model: what to choose for them, and whether the file then meets them.

    ``timing``: of the finished file, where its speed decides.
    """

    def __init__(self, subject: Subject, bill: Bill, trials: Trials, request: Request) -> None:
        self._source, self._analysis, self._bill = subject.source, subject.analysis, bill
        self._trials, self._options, self._obspa = trials, request.options, request.recipe.only_obspa
        # what this machine takes says nothing of another
        self._elsewhere = request.elsewhere
        self.timing: Timing | None = None
        self._tries, self._hurry = 0, 0
        # how long files took that are slower than the original, by what was tried
        self._slow = dict[int, float]()
        # of the latency, what was predicted to be saved and was, added up
        self._predicted, self._saved = 0.0, 0.0
        if self._elsewhere:
            # no file will tell that this was too little
            self._hurry = 1
        self._budgets = Budgets(subject, request)
        if subject.source.tidied and self._options.target_latency is not None and not self._elsewhere:
            tidied = self._budgets.tidied = trials.latency_left(Selection(self._analysis.grouping), _SECONDS)
            if tidied <= self._options.target_latency:
                what = "--tidy alone" if self._options.tidy else "to take its weights off the inputs"
                raise UnreachableError(
                    f"--target-latency {self._options.target_latency:g} needs no cut: {what} leaves {tidied:.3f} "
                    "of the original, measured here; ask for less"
                )

    @property
    def confirms(self) -> bool:
        """Whether only the finished file can tell that the budget is met."""
        looked_at = self._options.target_latency is not None or self._timed
        return self._budgets.size is not None or (looked_at and not self._elsewhere)

    @property
    def _timed(self) -> bool:
        """Whether the speed counts, though it is no budget."""
        return self._bill.clock is not None and self._options.target_latency is None

    def choose(self, menu: Menu) -> Chosen:
        """Raises UnreachableError if a budget can't be met."""
        budgets = self._budgets.fractions(menu)
        solver = Solver(menu, self._bill, worth(menu, self._analysis, next(iter(budgets)), self._obspa))
        self._budgets.check(solver, budgets)
        hurry = HURRY[self._hurry] if self._timed else 0.0
        bearable = math.inf if self._elsewhere else BEARABLE[self._hurry]
        solution = solver.solve(budgets, hurry, near=True, bearable=bearable)
        # what is within reach is found
        assert solution is not None
        left = {coin: solver.left(coin, solution.gone) for coin in budgets}
        near = min(budgets, key=lambda coin: budgets[coin] - left[coin])
        if budgets[near] - left[near] <= TOLERANCE + 1e-9:
            return Chosen(solution.gone)
        flag, shown = self._budgets.flag(near), self._budgets.shown(near, left[near], menu)
        if self._options.exact_budget:
            raise UnreachableError(
                f"{flag} can't be met within {100 * TOLERANCE:.0f} %: {shown} is the closest below; ask for that, "
                "loosen the constraints, or leave out --exact-budget"
            )
        return Chosen(solution.gone, f"{flag} is met with {shown}, the nearest below it")

    def confirm(self, trial: Trial) -> bool:
        """Whether the finished file meets the budgets; if not, the next choice aims better.

        Raises UnreachableError once aiming again does not help.
        """
        self._tries += 1
        if self._options.tidy and self.confirms:
            self._trials.fold_norms(trial)
        problems = [self._size_missed(trial), self._latency_missed(trial)]
        missed = next((p for p in problems if p), "")
        if missed and self._tries >= _TRIES:
            raise UnreachableError(
                f"{missed} is the closest that was confirmed on the finished model; ask for that, or try again on a "
                "quieter machine"
            )
        return not missed and not self._slower(trial)

    def _size_missed(self, trial: Trial) -> str:
        """What is wrong with the size, "" if nothing is."""
        wanted, size = self._budgets.size, trial.staged.bytes
        if wanted is None:
            return ""
        explained = self._analysis.costs.bytes_after(trial.selection) + self._source.bytes - self._analysis.weight_bytes
        off = size - explained - self._budgets.other_bytes
        near = wanted - size <= TOLERANCE * self._source.bytes or abs(off) <= _KNOWN * self._source.bytes
        if size <= wanted and (near or self._tries >= _TRIES):
            return ""
        self._budgets.other_bytes += off
        return f"--target-size {self._options.target_size}: {trial.staged.bytes} bytes"

    def _latency_missed(self, trial: Trial) -> str:
        asked = self._options.target_latency
        if asked is None or self._elsewhere:
            return ""
        timing = self.timing = self._trials.latency_of(trial)
        # on a busy machine the medians say more about what else it does
        if min(abs(t - asked) for t in (timing.left, timing.quiet_left)) <= LATENCY_TOLERANCE * asked:
            return ""
        if len(self._options.budgets) > 1 and timing.quiet_left <= asked:
            # another budget took more
            return ""
        gone = [trial.selection.gone.get(i, 0) for i in range(len(self._analysis.grouping.groups))]
        # of all tries together: each alone is as noisy as the machine
        self._predicted += 1 - self._bill.left(SECONDS, gone)
        self._saved += 1 - (timing.quiet_left + timing.left) / 2 / self._budgets.tidied
        self._budgets.seen = min(max(self._saved / max(self._predicted, 1e-9), 0.2), 5.0)
        return f"--target-latency {asked:g}: {timing.quiet_left:.3f} of the original"

    def _slower(self, trial: Trial) -> bool:
        """Whether the file takes longer than the original, and other widths are worth trying: in the end those that
        took the least.
        """
        if not self._timed or self._elsewhere:
            return False
        timing = self.timing = self._trials.latency_of(trial)
        if self._source.tidied:
            # what tidying saved makes up for no width
            timing = self._trials.latency_beside_tidied(trial) or timing
        if not is_slower(timing) or self._hurry in self._slow:
            return False
        self._slow[self._hurry] = timing.quiet_left
        last = self._hurry
        self._hurry = last + 1 if last + 1 < len(HURRY) else min(self._slow, key=lambda at: self._slow[at])
        return self._hurry != last
