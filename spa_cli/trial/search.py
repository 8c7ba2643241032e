"""The smallest model that still is good enough: bisection of what may be left."""

from __future__ import annotations

import math
from collections.abc import Callable

from spa_cli.budget.menu import Menu
from spa_cli.budget.solve import Solver
from spa_cli.errors import UnreachableError
from spa_cli.options import Options
from spa_cli.progress import stage
from spa_cli.request import Request
from spa_cli.runtime.timing import Timing
from spa_cli.trial.choose import Choice, bill_of, choose, menu_of, refuse, solver_of, tied
from spa_cli.trial.prepare import Ranked
from spa_cli.trial.target import HURRY, Chosen
from spa_cli.trial.trials import Trial, Trials
from spa_cli.verification.gates import agreement_of
from spa_cli.verification.quality import Measured, Quality

# how near the last size that passed and the first that failed have to come, as fractions of the original
_NEAR = 0.02
# what has to be cut at least before it is said that nothing can be
_LEAST = 0.005


class _Fraction:
    """A fraction of what the model costs is left, in the time too that it saves, whatever it does to the quality."""

    timing: Timing | None = None
    confirms = False

    def __init__(self, solver: Callable[[Menu], Solver], coin: str, most: float) -> None:
        self._solver, self._coin, self._most = solver, coin, most

    def choose(self, menu: Menu) -> Chosen:
        solver = self._solver(menu)
        found = solver.solve({self._coin: self._most}, HURRY[0] if solver.bill.clock else 0.0)
        # groups that have to be left whole may leave no more to go
        return Chosen(solver.most() if found is None else found.gone)

    def confirm(self, trial: Trial) -> bool:
        return True


def choose_by_quality(ranked: Ranked, request: Request, trials: Trials) -> Choice:
    """The least that is left at the quality asked for; it was repaired and verified.

    Raises UnreachableError if no cut keeps it, with the quality of what was nearest.
    """
    quality = Quality(ranked.subject, request.options, request.focus)
    costs, bill, menu = ranked.subject.analysis.costs, bill_of(ranked, request), menu_of(ranked, request)
    if not menu.total:
        refuse(ranked.subject, {}, tied(ranked, menu))

    def solver(menu: Menu) -> Solver:
        return solver_of(ranked, request, menu, bill)

    low, high = solver(menu).left(costs.coin, solver(menu).most()), 1.0
    best: Choice | None = None
    nearest: tuple[float, Measured] | None = None
    # the least is tried too, and what only a channel or two is taken from
    while high - low > (_NEAR if best is not None else _LEAST):
        middle = (low + high) / 2
        stage(f"trying {middle:.0%} of the {costs.coin}")
        choice = choose(ranked, request, trials, _Fraction(solver, costs.coin, middle))
        left = costs.left(choice.selection)
        small = trials.cut(choice.selection)
        measured = quality.of(small.staged.path, small.work.states)
        if passes(measured, request.options):
            # what was best before goes
            trials.keep()
            best, high = choice, min(left, middle)
        else:
            low, nearest = middle, (left, measured)
    if best is None:
        raise UnreachableError(_refusal(request.options, nearest, quality))
    return best


def passes(measured: Measured, options: Options) -> bool:
    """Whether a model is good enough."""
    return _fault(measured, options) == ""


def _fault(measured: Measured, options: Options) -> str:
    """The quality asked for that is not kept, by its option, "" if all are."""
    agreed, reached = measured.drift.agreement, measured.accuracy or 0.0
    if options.max_drift is not None and not measured.drift.relative_l2 <= options.max_drift:
        return "max_drift"
    if options.min_agreement is not None and (agreed is None or agreed < options.min_agreement):
        return "min_agreement"
    ratio = measured.drift.perplexity.ratio.value if measured.drift.perplexity is not None else math.inf
    if options.max_perplexity_ratio is not None and not ratio <= options.max_perplexity_ratio:
        return "max_perplexity_ratio"
    return "min_accuracy" if options.min_accuracy is not None and reached < options.min_accuracy else ""


def _refusal(options: Options, nearest: tuple[float, Measured] | None, quality: Quality) -> str:
    assert nearest is not None
    at, measured = nearest
    fault = _fault(measured, options)
    found, dense = f"drift is {measured.drift.relative_l2:.3g}", ""
    if fault == "min_agreement":
        agreed = measured.drift.agreement
        found = f"{agreement_of(measured.drift)} {'can not be measured' if agreed is None else f'is {agreed:.3g}'}"
    elif fault == "max_perplexity_ratio":
        perplexity = measured.drift.perplexity
        of = "" if perplexity is None else f" on {perplexity.by} is {perplexity.ratio.value:.4g} times the original's"
        found = f"perplexity{of or ' can not be measured'}"
    elif fault == "min_accuracy":
        original = quality.of_original().accuracy
        found = f"accuracy is {measured.accuracy:.4g}"
        dense = "" if original is None else f" (the original's is {original:.4g})"
    asked = f"--{fault.replace('_', '-')} {getattr(options, fault):g}"
    return f"{asked} can't be kept: {found}{dense} at {at:.0%} of the original on {quality.about}; ask for less"
