"""Choosing what goes under a budget, and trying it: again if a group or a guess was wrong."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from spa_cli.budget.bill import SECONDS, Bill
from spa_cli.budget.menu import Menu
from spa_cli.budget.solve import Solver
from spa_cli.budget.ties import Ties, ties_of
from spa_cli.channels.ranking import Ranking
from spa_cli.channels.selection import Selection
from spa_cli.devices.here import clock_of
from spa_cli.errors import CutError, ModelError, UnreachableError, VerificationError
from spa_cli.progress import stage
from spa_cli.request import Request
from spa_cli.runtime.timing import Timing
from spa_cli.trial.budgets import Budgets
from spa_cli.trial.prepare import Ranked
from spa_cli.trial.target import Chosen, Target, worth
from spa_cli.trial.trials import Trial, Trials
from spa_cli.verification.subject import Subject


@dataclass(frozen=True, eq=False)
class Choice:
    """What stays under a budget; ``timing``: of the finished file, where it was timed.

    ``menu``: what it was chosen from. ``left_whole``: groups of which no cut survived verification, and why.
    ``short``: why it is less than was asked for, "" where it isn't.
    """

    selection: Selection
    menu: Menu
    left_whole: dict[int, str]
    timing: Timing | None
    short: str = ""


class Aim(Protocol):
    """What decides how many channels of each group go, and whether the finished file is what was wanted."""

    timing: Timing | None

    @property
    def confirms(self) -> bool:
        """Whether ``confirm`` looks at the size or the speed of the file, which no repair changes."""
        ...

    def choose(self, menu: Menu) -> Chosen:
        """What goes."""
        ...

    def confirm(self, trial: Trial) -> bool:
        """Whether to stop here."""
        ...


def choose_by_budget(ranked: Ranked, request: Request, trials: Trials) -> Choice:
    """Choose under budgets of size or speed.

    Raises UnreachableError if one can't be met, ModelError if nothing can go.
    """
    return choose(ranked, request, trials, Target(ranked.subject, bill_of(ranked, request), trials, request))


def check_reach(subject: Subject, request: Request) -> None:
    """Raise, before anything is ranked or measured, what ``choose_by_budget`` would after: nothing can ever be enough.

    UnreachableError for a budget that isn't one of time, ModelError where nothing can go.
    """
    flat = [Ranking.of(np.zeros(g.channels)) for g in subject.analysis.grouping.groups]
    unranked = Ranked(subject, flat, {}, None)
    menu = menu_of(unranked, request)
    if not menu.total:
        refuse(subject, {}, tied(unranked, menu))
    budgets = Budgets(subject, request)
    known = {coin: most for coin, most in budgets.fractions(menu).items() if coin != SECONDS}
    budgets.check(solver_of(unranked, request, menu), known)


def bill_of(ranked: Ranked, request: Request) -> Bill:
    """What numbers of channels cost, in seconds too where widths or latency are chosen by them."""
    analysis, wanted = ranked.subject.analysis, request.options.target_latency is not None
    timed = wanted or by_time(request)
    clock = clock_of(analysis, ranked.subject.timed, request.options.device) if timed else None
    if wanted and clock is None:
        raise UnreachableError(
            f"--target-latency can't be aimed at: onnxruntime gives no profile of '{ranked.subject.source.name}'; use "
            "--target-macs"
        )
    return Bill(analysis.costs, analysis.grouping, clock, blocks_of(ranked, request), ties_by(ranked, request))


def by_time(request: Request) -> bool:
    """Whether the time that widths save is weighed against what they lose, whatever the budget is."""
    # without running it nothing can be measured here
    return request.options.round_to == "auto" and (request.options.run or request.elsewhere)


def blocks_of(ranked: Ranked, request: Request) -> dict[int, frozenset[int]]:
    """Groups that may lose all their channels, each with all groups that then go; gates are no blocks.

    Of layers that are to keep the same count none goes alone.
    """
    if not request.blocks:
        return {}
    ties = ties_by(ranked, request)
    found = {i: block.groups for i, block in ranked.subject.analysis.blocks.items() if block.residual}
    return {i: groups for i, groups in found.items() if all(ties.of(k) == (k,) for k in (i, *groups))}


def ties_by(ranked: Ranked, request: Request) -> Ties:
    """Groups that keep the same count, if that was asked for."""
    analysis = ranked.subject.analysis
    return ties_of(analysis.grouping, analysis.graph) if request.options.uniform else Ties()


def menu_of(ranked: Ranked, request: Request, whole: Collection[int] = ()) -> Menu:
    """How many channels of each group may go; of groups ``whole`` none."""
    analysis = ranked.subject.analysis
    excluded = {*whole, *ranked.unscored}
    layers = {*analysis.graph.weights()}
    blocks = blocks_of(ranked, request)
    ties = ties_by(ranked, request)
    return Menu(analysis.grouping, ranked.rankings, request.constraints, layers, excluded, blocks, ties)


def solver_of(ranked: Ranked, request: Request, menu: Menu, bill: Bill | None = None) -> Solver:
    """What chooses for a fraction of the MACs, or of the parameters where nothing computes.

    ``bill``: what counts more than those.
    """
    analysis = ranked.subject.analysis
    known = worth(menu, analysis, analysis.costs.coin, request.recipe.only_obspa)
    bill = bill or Bill(
        analysis.costs, analysis.grouping, blocks=blocks_of(ranked, request), ties=ties_by(ranked, request)
    )
    return Solver(menu, bill, known)


def choose(ranked: Ranked, request: Request, trials: Trials, aim: Aim) -> Choice:
    """What an aim chooses; groups that don't survive are left whole, and it is tried again.

    What has to be confirmed is tried as it is cut, and to be repaired in the end.
    """
    left_whole: dict[int, str] = {}
    while True:
        stage("choosing what goes")
        menu = menu_of(ranked, request, left_whole)
        if not menu.total:
            refuse(ranked.subject, left_whole, tied(ranked, menu))
        chosen = aim.choose(menu)
        selection = menu.selection(chosen.gone)
        if (clash := _clash(ranked, menu, chosen.gone)) is not None:
            left_whole |= clash
            continue
        stage("cutting and verifying")
        try:
            trial = trials.attempt(selection, repair=not aim.confirms)
        except (CutError, VerificationError) as error:
            left_whole |= trials.culprits(selection, str(error))
            continue
        if aim.confirm(trial):
            return Choice(selection, menu, left_whole, aim.timing, chosen.short)


def _clash(ranked: Ranked, menu: Menu, gone: dict[int, int]) -> dict[int, str] | None:
    """Of blocks that can't all go, the one that is lost most with; it stays, for the reason given."""
    whole = menu.whole(gone)
    try:
        if whole:
            ranked.subject.analysis.costs.emptying.without(whole)
    except CutError as error:
        dearest = max(whole, key=lambda i: menu.lost({i: gone[i]}))
        return {dearest: str(error)}
    return None


def tied(ranked: Ranked, menu: Menu) -> str:
    """Which groups --uniform left whole, since others have to go with them and can't; "" for none."""
    if not menu.tied:
        return ""
    groups = ranked.subject.analysis.grouping.groups
    index, other = next(iter(menu.tied.items()))
    return (
        f"--uniform cuts '{groups[index].name}' only with '{groups[other].name}', which has the same role and stays "
        f"whole{f', and {len(menu.tied) - 1} more such' if len(menu.tied) > 1 else ''}"
    )


def refuse(subject: Subject, left_whole: dict[int, str], tied: str = "") -> None:
    """Nothing can go: say why."""
    nothing = f"nothing in '{subject.source.name}' can be pruned"
    if left_whole:
        index, why = next(iter(left_whole.items()))
        name = subject.analysis.grouping.groups[index].name
        raise ModelError(f"{nothing}: no cut of its groups survived verification ('{name}': {why}); please report it")
    if tied:
        raise ModelError(f"{nothing}: {tied}; give --no-uniform, or let both go")
    raise ModelError(f"{nothing} under these constraints; 'spa inspect' lists the groups")
