"""From a budget to a finished cut: choose, cut, repair, verify, confirm; again if a group or a guess was wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from spa_cli.analysis import Analysis
from spa_cli.attempt import Made
from spa_cli.budget.choose import Order
from spa_cli.budget.kernels import roundings
from spa_cli.budget.targets import Target
from spa_cli.channels.selection import Selection
from spa_cli.errors import ModelError, UnreachableError
from spa_cli.options import Options
from spa_cli.prepare import Prepared, Subject
from spa_cli.progress import stage
from spa_cli.verification.check import Timing


@dataclass(frozen=True, eq=False)
class Cutting:
    """A cut that meets its budget; ``timing``: of the finished file, where latency was the budget.

    ``order``: the one that it was chosen from.
    """

    made: Made
    order: Order
    left_whole: dict[int, str]
    round_to: int
    timing: Timing | None


def cut_to(prepared: Prepared, options: Options) -> Cutting:
    """Choose, cut, repair, verify and confirm under the budget of ``options``.

    Raises UnreachableError if the budget can't be met, ModelError if nothing can go.
    """
    subject = prepared.subject
    target = Target(subject.source, subject.analysis, prepared.rankings, prepared.attempts, options)
    multiples = [options.round_to] if isinstance(options.round_to, int) else roundings(subject.analysis.graph)
    for multiple in multiples:
        target.start()
        try:
            return cut_rounded(prepared, options, target, multiple)
        except (UnreachableError, ModelError):
            # only a multiple that was picked for the user gives way to the budget
            if multiple == multiples[-1]:
                raise
    raise AssertionError("no multiple was tried")


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
    prices = target.prices() if options.recipe.only_obspa else None
    constraints = options.constraints(multiple)
    left_whole: dict[int, str] = {}
    while True:
        stage("choosing what goes")
        order = analysis.order(prepared.rankings, constraints, {*left_whole, *prepared.unscored}, prices)
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
    from spa_cli import __version__

    return {
        "version": __version__,
        "method": method,
        "removed_channels": selection.removed,
        "channels": analysis.channels,
    }
