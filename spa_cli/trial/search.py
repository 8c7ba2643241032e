"""The smallest model that still is good enough: bisection along the order in which channels go."""

from __future__ import annotations

from dataclasses import replace

from spa_cli.budget.choose import Order
from spa_cli.budget.kernels import roundings
from spa_cli.channels.selection import Selection
from spa_cli.errors import UnreachableError
from spa_cli.options import Options
from spa_cli.progress import stage
from spa_cli.request import Request
from spa_cli.runtime.timing import Timing
from spa_cli.trial.choose import Choice, choose_rounded, in_the_first_of, order_of, refuse
from spa_cli.trial.prepare import Ranked
from spa_cli.trial.target import Target
from spa_cli.trial.trials import Trial, Trials
from spa_cli.verification.quality import Measured, Quality

# how near the last size that passed and the first that failed have to come, as fractions of the original
_NEAR = 0.02


class _Prefix:
    """The first ``count`` steps of the order, whatever they cost."""

    timing: Timing | None = None
    confirms = False

    def __init__(self, target: Target, count: int) -> None:
        self._target, self._count = target, count

    def prices(self) -> list[float]:
        return self._target.prices()

    def choose(self, order: Order) -> Selection:
        return order.selection(order.steps[: self._count])

    def confirm(self, trial: Trial) -> bool:
        return True


def choose_by_quality(ranked: Ranked, request: Request, trials: Trials) -> Choice:
    """What lies farthest along the order of channels and keeps the quality asked for; it was repaired and verified.

    Raises UnreachableError if even the first step does not, with the quality of what was nearest.
    """
    quality = Quality(ranked.subject, request.options, request.focus)
    asked = request.options.round_to
    multiples = [asked] if isinstance(asked, int) else roundings(ranked.subject.analysis.graph)
    choice = in_the_first_of(multiples, lambda multiple: _smallest(ranked, request, trials, quality, multiple))
    if choice.round_to == multiples[0]:
        return choice
    reason = "no step in coarser ones keeps what was asked for"
    return replace(choice, why_finer=f"{reason} (kernels here like {multiples[0]})")


def _smallest(ranked: Ranked, request: Request, trials: Trials, quality: Quality, multiple: int) -> Choice:
    costs = ranked.subject.analysis.costs
    # a budget that says in which unit ("coin") savings are counted; how much is bisected
    free = request.with_budget(f"target_{costs.coin}", 0.5)
    target = Target(ranked.subject, ranked.rankings, trials, free)
    order = order_of(ranked, free, target, multiple)
    if not order.steps:
        refuse(ranked.subject, {})

    def left(count: int) -> float:
        return costs.left(order.selection(order.steps[:count]))

    low, high = 0, len(order.steps) + 1
    best: Choice | None = None
    nearest: tuple[float, Measured] | None = None
    while high - low > 1 and (best is None or left(low) - left(high - 1) > _NEAR):
        middle = (low + high) // 2
        stage(f"trying {left(middle):.0%} of the {costs.coin}")
        choice = choose_rounded(ranked, free, trials, _Prefix(target, middle), multiple)
        measured = quality.of(trials.cut(choice.selection).staged.path)
        if passes(measured, request.options):
            # what was best before goes
            trials.keep()
            best, low = choice, middle
        else:
            high, nearest = middle, (left(middle), measured)
    if best is None:
        raise UnreachableError(_refusal(request.options, nearest, quality))
    return best


def passes(measured: Measured, options: Options) -> bool:
    """Whether a model is good enough."""
    if options.max_drift is not None:
        return measured.drift.relative_l2 <= options.max_drift
    assert options.min_accuracy is not None
    return (measured.accuracy or 0.0) >= options.min_accuracy


def _refusal(options: Options, nearest: tuple[float, Measured] | None, quality: Quality) -> str:
    asked = (
        f"--max-drift {options.max_drift:g}"
        if options.max_drift is not None
        else f"--min-accuracy {options.min_accuracy:g}"
    )
    assert nearest is not None
    at, measured = nearest
    found = (
        f"drift is {measured.drift.relative_l2:.3g}"
        if options.max_drift is not None
        else f"accuracy is {measured.accuracy:.4g}"
    )
    original = quality.of_original().accuracy
    dense = f" (the original's is {original:.4g})" if options.min_accuracy is not None and original is not None else ""
    return f"{asked} can't be kept: {found}{dense} at {at:.0%} of the original on {quality.about}; ask for less"
