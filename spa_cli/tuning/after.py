"""Training a cut that was just made."""

from __future__ import annotations

from dataclasses import replace

from spa_cli.graph.source import Source
from spa_cli.options.tune import Training
from spa_cli.request import Request
from spa_cli.trial.trials import Trial, Trials
from spa_cli.tuning.pair import trained_on
from spa_cli.tuning.stored import with_weights
from spa_cli.tuning.tune import Tuned, tuned
from spa_cli.verification.subject import Subject


def train_trial(subject: Subject, trial: Trial, trials: Trials, request: Request) -> Tuned:
    """Train a verified trial for as long as ``--tune`` says; the weights stay where nothing better was found.

    Raises VerificationError where what was trained can't take the original's place.
    """
    options, source = request.options, subject.source
    assert options.tune is not None
    asked = Training(minutes=options.tune / 60)
    most = max(options.calib_samples, asked.samples)
    samples = trained_on(subject, replace(options, calib_samples=most), request.focus)
    folder = str(trial.staged.path.parent) if source.external else ""
    small = Source(trial.model, trial.staged.path.name, folder)
    found = tuned(subject, small, samples, asked, options, work=trial.work)
    if found.training.weights is not None:
        trials.exchange(trial, with_weights(small, found.training.weights))
    return found
