"""The smallest model that still is good enough: bisection along the order in which channels go."""

from __future__ import annotations

from dataclasses import replace

from spa_cli.budget.choose import Order
from spa_cli.budget.kernels import roundings
from spa_cli.channels.selection import Selection
from spa_cli.errors import ModelError, UnreachableError
from spa_cli.options import Options
from spa_cli.prepare import Prepared
from spa_cli.progress import stage
from spa_cli.runtime.timing import Timing
from spa_cli.trial.attempt import Made
from spa_cli.trial.cutting import Cutting, cut_rounded, order_of, refuse
from spa_cli.trial.target import Target
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

    def confirm(self, made: Made) -> bool:
        return True


def smallest(prepared: Prepared, options: Options) -> Cutting:
    """The cut farthest along the order of channels that keeps the quality asked for.

    Raises UnreachableError if even the first step does not, with the quality of what was nearest.
    """
    quality = Quality(prepared.subject, options)
    multiples = [options.round_to] if isinstance(options.round_to, int) else roundings(prepared.subject.analysis.graph)
    for multiple in multiples:
        try:
            found = _smallest(prepared, options, quality, multiple)
        except (UnreachableError, ModelError):
            # only a multiple that was picked for the user gives way to what is asked for
            if multiple == multiples[-1]:
                raise
            continue
        coarser = f"no step in coarser ones keeps what was asked for (kernels here like {multiples[0]})"
        return replace(found, gave_way="" if multiple == multiples[0] else coarser)
    raise AssertionError("no multiple was tried")


def _smallest(prepared: Prepared, options: Options, quality: Quality, multiple: int) -> Cutting:
    subject = prepared.subject
    analysis, costs = subject.analysis, subject.analysis.costs
    coin = "target_macs" if costs.macs else "target_params"
    asked, options = options, options.with_budget(coin, 0.5)
    target = Target(subject.source, analysis, prepared.rankings, prepared.attempts, options)
    order = order_of(prepared, options, target, multiple)
    if not order.steps:
        refuse(subject, {})

    def left(count: int) -> float:
        after = costs.after(order.selection(order.steps[:count]))
        return after[1] / costs.macs if costs.macs else after[0] / costs.params

    low, high = 0, len(order.steps) + 1
    best: Cutting | None = None
    nearest: tuple[float, Measured] | None = None
    try:
        while high - low > 1 and (best is None or left(low) - left(high - 1) > _NEAR):
            middle = (low + high) // 2
            stage(f"trying {left(middle):.0%} of the {coin.removeprefix('target_')}")
            cutting = cut_rounded(prepared, options, _Prefix(target, middle), multiple)
            try:
                measured = quality.of(cutting.made.staged.path)
            except BaseException:
                cutting.made.staged.discard()
                raise
            if passes(measured, asked):
                if best is not None:
                    best.made.staged.discard()
                best, low = cutting, middle
            else:
                cutting.made.staged.discard()
                high, nearest = middle, (left(middle), measured)
    except BaseException:
        if best is not None:
            best.made.staged.discard()
        raise
    if best is None:
        raise UnreachableError(_refusal(asked, nearest, quality))
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
