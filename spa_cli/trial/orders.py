"""The cut under budgets of size or speed, by the better of two orders of channels where it is in doubt which that is.

A detector says a few things of many positions. Whether errors of its layers compare by what outputs feel of them, or
merely by what they are added into (``obspa.directions``), decides what it keeps, and neither is the better one of all
networks and budgets: at any width YOLOX-Nano keeps 37.3 mAP50 by the first and 27.3 by the second at 0.7 of its MACs,
44.6 and 45.5 at 0.9. So both are carried out, and what they give is compared with what the original gives, on samples
that both were fitted to: those that judge the result take no part.
"""

from __future__ import annotations

from dataclasses import replace

from spa_cli.calibration.chunks import Calibration
from spa_cli.errors import CutError, ModelError, UnreachableError, VerificationError
from spa_cli.progress import LOG, stage
from spa_cli.request import Request
from spa_cli.trial.choose import Choice, choose_by_budget
from spa_cli.trial.prepare import Ranked
from spa_cli.trial.trials import Trial, Trials
from spa_cli.verification.drift import drift_over
from spa_cli.verification.subject import Subject

# samples that two files are compared on, and what is kept of them that no other order is worth trying for
_SAMPLES, _ENOUGH = 64, 0.98


def cut_by_budget(ranked: Ranked, request: Request, trials: Trials) -> tuple[Ranked, Choice, Trial]:
    """The order that was taken, what stays by it, and the file, repaired and verified.

    Raises UnreachableError if a budget can't be met, ModelError if nothing can go, VerificationError.
    """
    choice, small = _carried_out(ranked, request, trials)
    if ranked.other is None or ranked.curvature is None:
        return ranked, choice, small
    samples = ranked.curvature.calibration.first(_SAMPLES)
    kept = kept_of(ranked.subject, small, samples)
    if kept >= _ENOUGH:
        return ranked, choice, small
    trials.keep()
    stage("trying another order of the channels")
    other = replace(ranked, rankings=ranked.other, other=None)
    try:
        again, second = _carried_out(other, request, trials)
        by_other = kept_of(ranked.subject, second, samples)
        LOG.debug("by what outputs feel %.4g is kept, by what errors are added into %.4g", kept, by_other)
        if by_other > kept:
            return other, again, second
    except (CutError, ModelError, UnreachableError, VerificationError):
        # there is a file
        pass
    return ranked, choice, finished(choice, trials)


def finished(choice: Choice, trials: Trials) -> Trial:
    """The file of a choice, repaired and verified."""
    small = trials.cut(choice.selection)
    trials.repair(small)
    trials.verify(small)
    return small


def kept_of(subject: Subject, small: Trial, samples: Calibration) -> float:
    """How much of what the original says of samples a cut still says; where that is not known, less the farther off."""
    drift = drift_over(*subject.beside(small.opened), samples.runs, subject.panel)
    return -drift.relative_l2 if drift.agreement is None else drift.agreement


def _carried_out(ranked: Ranked, request: Request, trials: Trials) -> tuple[Choice, Trial]:
    choice = choose_by_budget(ranked, request, trials)
    return choice, finished(choice, trials)
