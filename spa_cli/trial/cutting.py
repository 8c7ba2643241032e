"""From a budget to a finished cut: choose, cut, repair, verify, confirm; again if a group or a guess was wrong."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Protocol

from spa_cli.analysis import Analysis
from spa_cli.budget.choose import Order
from spa_cli.budget.kernels import COSTLY, roundings
from spa_cli.channels.selection import Selection
from spa_cli.errors import ModelError, UnreachableError
from spa_cli.options import Options
from spa_cli.prepare import Prepared, Subject
from spa_cli.progress import stage
from spa_cli.runtime.timing import Timing
from spa_cli.trial.attempt import Made
from spa_cli.trial.target import Target
from spa_cli.version import __version__


@dataclass(frozen=True, eq=False)
class Cutting:
    """A cut that meets its budget; ``timing``: of the finished file, where latency was the budget.

    ``order``: the one that it was chosen from. ``gave_way``: why widths are not in the multiples that kernels like.
    """

    made: Made
    order: Order
    left_whole: dict[int, str]
    round_to: int
    timing: Timing | None
    gave_way: str = ""


def cut_to(prepared: Prepared, options: Options) -> Cutting:
    """Choose, cut, repair, verify and confirm under the budget of ``options``.

    Raises UnreachableError if the budget can't be met, ModelError if nothing can go.
    """
    subject = prepared.subject
    target = Target(subject.source, subject.analysis, prepared.rankings, prepared.attempts, options)
    liked, multiples, why = _multiples(prepared, options, target)
    for multiple in multiples:
        target.start()
        try:
            cutting = cut_rounded(prepared, options, target, multiple)
        except (UnreachableError, ModelError):
            # only a multiple that was picked for the user gives way to the budget
            if multiple == multiples[-1]:
                raise
            continue
        reason = why if multiple == multiples[0] else "the budget can't be met in coarser ones"
        return replace(cutting, gave_way="" if multiple == liked else f"{reason} (kernels here like {liked})")
    raise AssertionError("no multiple was tried")


def _multiples(prepared: Prepared, options: Options, target: Target) -> tuple[int, list[int], str]:
    """The multiple that kernels like (or that was asked for), those to try in turn, and why coarser ones are not.

    A coarser multiple takes channels that matter more. How much that costs is told in the coin of the budget: by how
    much more would have to go at free widths to lose as much.
    """
    if isinstance(options.round_to, int):
        return options.round_to, [options.round_to], ""
    liked, *finer = roundings(prepared.subject.analysis.graph)
    if options.target_latency is not None or not finer:
        # how much of a network has to go for its latency depends on the widths: there is nothing to compare
        return liked, [liked, *finer], ""
    stage("choosing widths")
    free = order_of(prepared, options, target, 1)
    try:
        unrounded = target.choose(free)
    except (UnreachableError, ModelError):
        # that is for the refusal to say
        return liked, [1], ""
    why = ""
    for at, multiple in enumerate((liked, *finer)):
        try:
            order = order_of(prepared, options, target, multiple)
            lost = order.lost(target.choose(order))
        except (UnreachableError, ModelError):
            why = f"the budget can't be met in multiples of {multiple}"
            continue
        more = target.left(unrounded) - target.left(free.losing(lost))
        if multiple == 1 or lost <= free.lost(unrounded) or more <= COSTLY:
            return liked, [liked, *finer][at:], why
        why = f"multiples of {multiple} would cost as much as removing {more:.1%} more"
    raise AssertionError("free widths are among the multiples")


def order_of(prepared: Prepared, options: Options, target: Aim, multiple: int, whole: Collection[int] = ()) -> Order:
    """The order in which channels go, in multiples of so many; groups ``whole`` don't."""
    prices = target.prices() if options.recipe.only_obspa else None
    excluded = {*whole, *prepared.unscored}
    return prepared.subject.analysis.order(prepared.rankings, options.constraints(multiple), excluded, prices)


class Aim(Protocol):
    """What decides how far to walk along the order, and whether the finished file is what was wanted."""

    timing: Timing | None

    @property
    def confirms(self) -> bool:
        """Whether ``confirm`` looks at the file at all."""
        ...

    def prices(self) -> list[float]:
        """What one channel of each group saves."""
        ...

    def choose(self, order: Order) -> Selection:
        """What stays."""
        ...

    def confirm(self, made: Made) -> bool:
        """Whether to stop here."""
        ...


def cut_rounded(prepared: Prepared, options: Options, target: Aim, multiple: int) -> Cutting:
    """One budget in multiples of channels; groups that don't survive are left whole, and it is tried again."""
    analysis, attempts, curvature = prepared.subject.analysis, prepared.attempts, prepared.curvature
    left_whole: dict[int, str] = {}
    while True:
        stage("choosing what goes")
        order = order_of(prepared, options, target, multiple, left_whole)
        if not order.steps:
            refuse(prepared.subject, left_whole)
        selection = target.choose(order)
        about = note(options.method, selection, analysis)
        # neither size nor speed depends on the values of the weights: what has to be confirmed is repaired at the end
        repair = curvature.repair if curvature else None
        early = None if target.confirms else repair
        stage("cutting, repairing and verifying" if early else "cutting and verifying")
        made, problem = attempts.make(selection, about, early)
        try:
            if made is not None and not target.confirm(made):
                made.staged.discard()
                continue
        except BaseException:
            if made is not None:
                made.staged.discard()
            raise
        if made is not None and repair is not early:
            stage("repairing and verifying")
            made.staged.discard()
            made, problem = attempts.make(selection, about, repair)
        if made is not None:
            return Cutting(made, order, left_whole, multiple, target.timing)
        left_whole |= attempts.culprits(selection, problem)


def refuse(subject: Subject, left_whole: dict[int, str]) -> None:
    """Nothing can go: say why."""
    nothing = f"nothing in '{subject.source.name}' can be pruned"
    if left_whole:
        index, why = next(iter(left_whole.items()))
        name = subject.analysis.grouping.groups[index].name
        raise ModelError(f"{nothing}: no cut of its groups survived verification ('{name}': {why}); please report it")
    raise ModelError(f"{nothing} under these constraints; 'spa inspect' lists the groups")


def note(method: str, selection: Selection, analysis: Analysis) -> dict[str, object]:
    """What the metadata entry of the result says."""
    return {
        "version": __version__,
        "method": method,
        "removed_channels": selection.removed,
        "channels": analysis.channels,
    }
