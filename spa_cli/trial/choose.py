"""Choosing what goes under a budget, and trying it: again if a group, a width or a guess was wrong."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Protocol

from spa_cli.budget.choose import Order
from spa_cli.budget.kernels import COSTLY, roundings
from spa_cli.channels.selection import Selection
from spa_cli.errors import CutError, ModelError, UnreachableError, VerificationError
from spa_cli.progress import stage
from spa_cli.request import Request
from spa_cli.runtime.timing import Timing
from spa_cli.trial.prepare import Ranked
from spa_cli.trial.target import Target
from spa_cli.trial.trials import Trial, Trials
from spa_cli.verification.subject import Subject


@dataclass(frozen=True, eq=False)
class Choice:
    """What stays under a budget; ``timing``: of the finished file, where latency was the budget.

    ``order``: the one that it was chosen from. ``left_whole``: groups of which no cut survived verification, and why.
    ``why_finer``: why widths are not in the multiples that kernels like.
    """

    selection: Selection
    order: Order
    left_whole: dict[int, str]
    round_to: int
    timing: Timing | None
    why_finer: str = ""


class Aim(Protocol):
    """What decides how far to walk along the order, and whether the finished file is what was wanted."""

    timing: Timing | None

    @property
    def confirms(self) -> bool:
        """Whether ``confirm`` looks at the size or the speed of the file, which no repair changes."""
        ...

    def prices(self) -> list[float]:
        """What one channel of each group saves."""
        ...

    def choose(self, order: Order) -> Selection:
        """What stays."""
        ...

    def confirm(self, trial: Trial) -> bool:
        """Whether to stop here."""
        ...


def choose_by_budget(ranked: Ranked, request: Request, trials: Trials) -> Choice:
    """Choose under a budget of size or speed.

    Raises UnreachableError if the budget can't be met, ModelError if nothing can go.
    """
    target = Target(ranked.subject, ranked.rankings, trials, request)
    liked, multiples, why = _multiples(ranked, request, target)

    def attempt(multiple: int) -> Choice:
        target.start()
        return choose_rounded(ranked, request, trials, target, multiple)

    choice = in_the_first_of(multiples, attempt)
    if choice.round_to == liked:
        return choice
    reason = why if choice.round_to == multiples[0] else "the budget can't be met in coarser ones"
    return replace(choice, why_finer=f"{reason} (kernels here like {liked})")


def in_the_first_of(multiples: list[int], attempt: Callable[[int], Choice]) -> Choice:
    """What is chosen in the first of these multiples in which it can be; raises what ``attempt`` raises in the last."""
    for multiple in multiples[:-1]:
        try:
            return attempt(multiple)
        except (UnreachableError, ModelError):
            # only a multiple that was picked for the user gives way
            continue
    return attempt(multiples[-1])


def _multiples(ranked: Ranked, request: Request, target: Target) -> tuple[int, list[int], str]:
    """The multiple that kernels like (or that was asked for), those to try in turn, and why coarser ones are not.

    A coarser multiple takes channels that matter more. How much that costs is told in the coin of the budget: by how
    much more would have to go at free widths to lose as much.
    """
    if isinstance(request.options.round_to, int):
        return request.options.round_to, [request.options.round_to], ""
    liked, *finer = roundings(ranked.subject.analysis.graph)
    if request.options.target_latency is not None or not finer:
        # how much of a network has to go for its latency depends on the widths: there is nothing to compare
        return liked, [liked, *finer], ""
    stage("choosing widths")
    free = order_of(ranked, request, target, 1)
    try:
        unrounded = target.choose(free)
    except (UnreachableError, ModelError):
        # that is for the refusal to say
        return liked, [1], ""
    why = ""
    for at, multiple in enumerate((liked, *finer)):
        try:
            order = order_of(ranked, request, target, multiple)
            lost = order.lost(target.choose(order))
        except (UnreachableError, ModelError):
            why = f"the budget can't be met in multiples of {multiple}"
            continue
        more = target.left(unrounded) - target.left(free.losing(lost))
        if multiple == 1 or lost <= free.lost(unrounded) or more <= COSTLY:
            return liked, [liked, *finer][at:], why
        why = f"multiples of {multiple} would cost as much as removing {more:.1%} more"
    raise AssertionError("free widths are among the multiples")


def order_of(ranked: Ranked, request: Request, aim: Aim, multiple: int, whole: Collection[int] = ()) -> Order:
    """The order in which channels go, in multiples of so many; groups ``whole`` don't."""
    analysis = ranked.subject.analysis
    return Order(
        analysis.grouping,
        ranked.rankings,
        request.constraints(multiple),
        {*analysis.graph.weights()},
        {*whole, *ranked.unscored},
        aim.prices() if request.recipe.only_obspa else None,
    )


def choose_rounded(ranked: Ranked, request: Request, trials: Trials, aim: Aim, multiple: int) -> Choice:
    """One budget in multiples of channels; groups that don't survive are left whole, and it is tried again.

    What has to be confirmed is tried as it is cut, and to be repaired in the end.
    """
    left_whole: dict[int, str] = {}
    while True:
        stage("choosing what goes")
        order = order_of(ranked, request, aim, multiple, left_whole)
        if not order.steps:
            refuse(ranked.subject, left_whole)
        selection = aim.choose(order)
        stage("cutting and verifying")
        try:
            trial = trials.attempt(selection, repair=not aim.confirms)
        except (CutError, VerificationError) as error:
            left_whole |= trials.culprits(selection, str(error))
            continue
        if aim.confirm(trial):
            return Choice(selection, order, left_whole, multiple, aim.timing)


def refuse(subject: Subject, left_whole: dict[int, str]) -> None:
    """Nothing can go: say why."""
    nothing = f"nothing in '{subject.source.name}' can be pruned"
    if left_whole:
        index, why = next(iter(left_whole.items()))
        name = subject.analysis.grouping.groups[index].name
        raise ModelError(f"{nothing}: no cut of its groups survived verification ('{name}': {why}); please report it")
    raise ModelError(f"{nothing} under these constraints; 'spa inspect' lists the groups")
