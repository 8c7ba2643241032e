"""The trained model, written, checked and measured like any other result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spa_cli.graph.save import Staged
from spa_cli.graph.states import noted
from spa_cli.progress import stage
from spa_cli.runtime.session import Openable, openable
from spa_cli.runtime.widened import widened
from spa_cli.tuning.pair import Pair
from spa_cli.tuning.result import TuneResult
from spa_cli.tuning.stored import with_weights
from spa_cli.tuning.tune import Tuned
from spa_cli.verification.check import verify_file
from spa_cli.verification.drift import Drift, drift_over


@contextmanager
def written(pair: Pair, tuned: Tuned, out: Path | None) -> Iterator[tuple[TuneResult, Staged]]:
    """The result, and its file under way to ``out``; it goes when the ``with`` ends.

    Raises VerificationError where what was trained can't take the original's place.
    """
    subject, pruned, weights = pair.subject, pair.pruned, tuned.training.weights
    model = pruned.model if weights is None else with_weights(pruned, weights)
    staged = Staged(out.name if out else "tuned.onnx", pruned.folder, out.parent if out else None, pruned.room)
    try:
        stage("verifying")
        staged.write(model, pruned.external)
        states = noted(pruned.model, subject.source.model)
        verify_file(
            widened(str(staged.path), states),
            subject.source.model,
            subject.checked,
            subject.reference,
            subject.feeds,
            large=pruned.external,
            free=subject.analysis.free_sizes(),
        )
        stage("comparing outputs")
        drift = (_drift(pair, widened(openable(pruned), states)), _drift(pair, widened(str(staged.path), states)))
        yield TuneResult(subject.source, pruned, tuned, drift, _warnings(pair, tuned), out, model), staged
    finally:
        staged.discard()


def _drift(pair: Pair, model: Openable) -> Drift:
    return drift_over(*pair.subject.beside(model), pair.subject.judges.runs, pair.panel)


def _warnings(pair: Pair, tuned: Tuned) -> list[str]:
    """What the user should know."""
    found, training = [*pair.pruned.warnings, *pair.subject.source.warnings], tuned.training
    if pair.samples.warning:
        found.append(pair.samples.warning)
    if training.weights is None:
        found.append("nothing that was tried was better on held-back samples: the weights are as they were")
    if training.interrupted:
        found.append(f"interrupted after {training.seconds:.0f} s: this is the best so far; tune it again to go on")
    return found
