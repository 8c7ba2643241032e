"""Rounds: part of the way is cut and repaired, and what is left is scored again on the network as it then is.

Which channels can be done without depends on which are gone, and a repaired network has made others out of them. Each
round only orders channels anew, those that went in rounds before it first: budgets, multiples, the final cut and its
repair, to what the *original* gives, are those of one round.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spa_cli.analysis import analyse_model
from spa_cli.channels.ranking import Ranking
from spa_cli.channels.selection import Mask, Selection
from spa_cli.errors import CutError, VerificationError
from spa_cli.graph.source import Source
from spa_cli.importance.evidence import Evidence
from spa_cli.importance.score import rank_groups
from spa_cli.progress import stage
from spa_cli.request import Request
from spa_cli.runtime.load import load
from spa_cli.trial.choose import choose_by_budget, menu_of, solver_of
from spa_cli.trial.prepare import Ranked
from spa_cli.trial.trials import Trials


def in_rounds(ranked: Ranked, request: Request, trials: Trials) -> Ranked:
    """The channels in the order that all rounds but the last, which cuts, give; the rounds there can be.

    A round whose cut does not survive, or whose model can't be scored, is the last.
    """
    costs, rounds = ranked.subject.analysis.costs, request.options.rounds
    for done in range(1, rounds):
        left = costs.left(choose_by_budget(ranked, request, trials).selection)
        # equal steps are equal factors
        part = _leaving(ranked, request, left ** (done / rounds))
        if not part.kept:
            continue
        stage(f"round {done} of {rounds}")
        try:
            small = trials.attempt(part, repair=True)
            # the file, beside which weights of their own lie
            ranked = _scored_again(ranked, request, part, load(small.staged.path))
        except (CutError, VerificationError):
            break
    return ranked


def _leaving(ranked: Ranked, request: Request, fraction: float) -> Selection:
    """What stays where so much of the MACs (of the parameters, where nothing computes) is left."""
    menu = menu_of(ranked, request)
    found = solver_of(ranked, request, menu).solve({ranked.subject.analysis.costs.coin: fraction})
    return menu.selection({} if found is None else found.gone)


def _scored_again(ranked: Ranked, request: Request, part: Selection, small: Source) -> Ranked:
    """Rankings of the original's groups by what is left of them in ``small``, which keeps what ``part`` says."""
    subject = ranked.subject
    analysis = analyse_model(small, subject.analysis.input_shapes)
    evidence = Evidence(analysis, request.options, request.focus, subject.data, subject.judges)
    again, unscored = rank_groups(evidence, request.recipe)
    # what a group is called may change with others: its first weight does not
    by_tensor = {g.tensor: i for i, g in enumerate(analysis.grouping.groups) if i not in unscored}
    found = []
    for index, (group, before) in enumerate(zip(subject.analysis.grouping.groups, ranked.rankings, strict=True)):
        mask = part.kept.get(index, np.ones(before.order.shape, bool))
        at = by_tensor.get(group.tensor)
        found.append(_continued(before, mask, None if at is None else again[at]))
    return replace(ranked, rankings=found)


def _continued(before: Ranking, mask: Mask, again: Ranking | None) -> Ranking:
    """First what is gone (not in ``mask``), at no loss, then the others as they were ranked ``again``."""
    rows, kept = np.atleast_2d(before.order), np.atleast_2d(mask)
    gone = rows.shape[-1] - int(kept[0].sum())
    if again is not None and again.order.shape != (*before.order.shape[:-1], rows.shape[-1] - gone):
        again = None
    order, loss = rows.copy(), before.loss.copy()
    loss[:gone] = 0
    if again is not None:
        loss[gone:] = again.loss
        for line, stays, ranked in zip(order, kept, np.atleast_2d(again.order), strict=True):
            line[:] = np.r_[line[~stays[line]], np.flatnonzero(stays)[ranked]]
    return Ranking(order.reshape(before.order.shape), loss)
