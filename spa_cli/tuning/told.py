"""Labels that lie beside the samples, as what an output is to give: chances of classes, or values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spa_cli.analysis import Analysis
from spa_cli.calibration.chunks import Calibration
from spa_cli.errors import UsageError
from spa_cli.graph.model import Array
from spa_cli.tuning.terms import VALUES, Term, classes_in, numbers_in
from spa_cli.verification.subject import Subject

# what chances add up to, rounded
_ONE = 1.001


@dataclass(frozen=True, eq=False)
class Told:
    """``term``: what is to meet the labels; ``fitted`` and ``judged``: what it is to give, by run of the samples."""

    term: Term
    fitted: list[Array]
    judged: list[Array]

    @staticmethod
    def of(subject: Subject, pruned: Analysis, samples: Calibration) -> Told:
        """Raises UsageError where there are no labels, or none that an output can be about."""
        data = subject.data
        fit = None if data.fit is None else data.fit.labels
        test = fit if data.test is None else data.test.labels
        if fit is None or test is None:
            lacking = data.fit if fit is None else data.test
            where = "there is no --calib" if lacking is None else f"'{lacking.about}' has none"
            raise UsageError(f"--labels learns what lies beside the samples, but {where}; add an array 'labels'")
        for term, shape in _places(subject, pruned):
            goals = [_goals(labels, term, shape) for labels in (fit, test)]
            if goals[0] is not None and goals[1] is not None:
                return Told(term, _by_run(goals[0], samples), _by_run(goals[1], subject.judges))
        raise UsageError(
            f"--labels: no output can be about labels of shape {'x'.join(map(str, np.shape(fit)))}; "
            "give class indices, one-hot rows, or values shaped like an output"
        )


def _places(subject: Subject, pruned: Analysis) -> list[tuple[Term, tuple[int, ...]]]:
    """What labels may be about, and the shape that each has for one sample."""
    classes = classes_in(subject.analysis, pruned, subject.reference)
    values = numbers_in(subject.analysis, subject.reference)
    return [(Term(t.tensor, t.form, t.axis, told=True), tuple(shape[1:])) for t, shape in (*classes, *values)]


def _goals(labels: Array, term: Term, shape: Sequence[int]) -> Array | None:
    """(n, *shape), ``None`` if the labels can't be about that."""
    whole = labels.dtype.kind != "f" or bool((labels == np.round(labels)).all())
    if term.form == VALUES:
        # classes are no values
        fits = labels.dtype.kind == "f" and labels.size == len(labels) * int(np.prod(shape))
        return labels.reshape(len(labels), *shape).astype(np.float32) if fits else None
    axis = term.axis + len(shape)
    places = [d for i, d in enumerate(shape) if i != axis]
    if [*labels.shape[1:]] == [*shape] and labels.min(initial=0) >= 0 and labels.sum(term.axis).max() <= _ONE:
        return labels.astype(np.float32)
    if not whole or [*labels.shape[1:]] not in (places, [*places, 1]) or labels.max(initial=0) >= shape[axis]:
        return None
    index = labels.reshape(len(labels), *places).astype(np.int64)
    # what has no class (by convention a negative number) asks for nothing
    rows = np.eye(shape[axis], dtype=np.float32)[index] * (index >= 0)[..., None]
    return np.moveaxis(rows, -1, term.axis)


def _by_run(goals: Array, samples: Calibration) -> list[Array]:
    assert samples.index is not None
    return [goals[at] for at in samples.index]
