"""How good a pruned model still is, on samples that nothing was fitted to, by labels, or by the user's own command."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession

from spa_cli.calibration.chunks import samples_in
from spa_cli.calibration.focus import Focus
from spa_cli.errors import OptionError
from spa_cli.graph.model import Array
from spa_cli.graph.source import Source
from spa_cli.graph.states import State
from spa_cli.measures.perplexity import Following, Truth, perplexity
from spa_cli.memory import working_memory
from spa_cli.options import Options
from spa_cli.runtime.providers import chosen
from spa_cli.runtime.session import Openable, floats, open_session, run
from spa_cli.runtime.store import Kept, Store
from spa_cli.runtime.widened import widened
from spa_cli.verification.accuracy import evaluate, hits, in_file
from spa_cli.verification.drift import Drift, Moved, counted, drift
from spa_cli.verification.subject import Subject


@dataclass(frozen=True)
class Measured:
    """``accuracy``: fraction of labels met, or the number that the user's command printed last."""

    drift: Drift
    accuracy: float | None


class Quality:
    """Measures models against the original; raises UsageError where what is asked for can't be measured.

    ``about``: on what.
    """

    def __init__(self, subject: Subject, options: Options, focus: Focus = Focus()) -> None:
        self._subject, self._command = subject, options.evaluate
        self._samples, self._labels = subject.judges, _labels(subject, options)
        self.about = self._samples.about
        self._judges = options.min_accuracy is not None or options.sweeping
        session = open_session(subject.source, providers=chosen())
        # what does not fit in memory lies on disk
        store = Store(working_memory())
        self._reference = [[store.put(v) for v in outputs] for outputs in self._outputs(session)]
        self._scores = self._fitting(focus.output)
        first = (self._samples.chunks[0], self._labels_of(0), _got(self._reference[0]))
        self._truth = Truth.of(subject.panel, *first, partial(run, session))
        if options.max_drift is not None and not floats(_got(self._reference[0])):
            raise OptionError(
                "--max-drift can't be measured: the model has no output of floating-point numbers; use --min-accuracy"
            )
        if options.min_accuracy is not None and self._scores is None and self._command is None:
            raise OptionError(
                "--min-accuracy needs labels that fit an output; give an array 'labels' in --test (or --calib) beside "
                "the inputs, class indices or one-hot, or --eval 'command {model}' that prints a number"
            )

        if options.min_accuracy is not None and self._command is None and self.of_original().accuracy is None:
            raise OptionError(
                "--min-accuracy can't be measured: all labels are negative, which stands for none; give class indices "
                "from 0 on"
            )

    def _fitting(self, named: str) -> int | None:
        """The first output (or the named one) that the labels can be about."""
        if self._labels is None or self._samples.index is None:
            return None
        first = self._labels[self._indices[0]]
        for at, (name, value) in enumerate(
            zip(self._subject.analysis.graph.outputs, _got(self._reference[0]), strict=True)
        ):
            if named in ("", name) and hits(value, first) is not None:
                return at
        return None

    def of_original(self) -> Measured:
        """The original's own."""
        return Measured(Drift(0.0, 1.0), self._accuracy(map(_got, self._reference), self._subject.source))

    def of(self, model: Path, states: Sequence[State] = ()) -> Measured:
        """A model in a file, of which ``states`` lost channels.

        Raises VerificationError if it does not run or the user's command fails.
        """
        session = open_session(widened(str(model), states), providers=chosen())
        moved, scores = Moved(self._subject.panel), list[list[Any]]()
        following = Following(self._truth)
        pairs = zip(self._reference, self._outputs(session), self._samples.runs, strict=True)
        for at, (kept, after, (feeds, new)) in enumerate(pairs):
            before, count = _got(kept), samples_in(feeds) if new is None else new
            moved.add(before, after, count)
            following.add(feeds, self._labels_of(at), before, after, count)
            # of what is not about labels nothing is kept
            scores.append([v if output == self._scores else None for output, v in enumerate(after)])
        found = replace(moved.drift, perplexity=perplexity(moved.drift.outputs, following))
        return Measured(found, self._accuracy(scores, model))

    def _outputs(self, session: InferenceSession) -> Iterator[list[Any]]:
        """Of every run, what counts."""
        return (counted(run(session, feeds), feeds, new) for feeds, new in self._samples.runs)

    @property
    def _indices(self) -> list[NDArray[np.int64]]:
        """Of every run, where the samples that count are in the user's data."""
        assert self._samples.index is not None
        pairs = zip(self._samples.index, self._samples.runs, strict=True)
        return [index if new is None else index[-new:] for index, (_, new) in pairs]

    def _labels_of(self, at: int) -> Array | None:
        """Those of the samples that count of a run."""
        return None if self._labels is None or self._samples.index is None else self._labels[self._indices[at]]

    def drift_of(self, model: Openable) -> float:
        """Relative L2 drift of a model in memory on the first samples; raises what onnxruntime raises."""
        session = open_session(model, providers=chosen())
        feeds, new = self._samples.runs[0]
        return drift(_got(self._reference[0]), counted(run(session, feeds), feeds, new)).relative_l2

    def _accuracy(self, outputs: Iterable[list[Any]], model: Source | Path) -> float | None:
        if not self._judges:
            return None
        if self._command is not None:
            with in_file(model) as path:
                return evaluate(self._command, path)
        if self._labels is None or self._scores is None or self._samples.index is None:
            return None
        pairs = zip(outputs, self._indices, strict=True)
        found = [hits(output[self._scores], self._labels[index]) for output, index in pairs]
        met = [h for h in found if h is not None]
        return float(np.concatenate(met).mean()) if sum(map(len, met)) else None


def _got(kept: list[Kept]) -> list[Any]:
    return [one.get() for one in kept]


def _labels(subject: Subject, options: Options) -> Array | None:
    """Labels beside the samples that are measured on."""
    given = subject.data.test or subject.data.fit
    # labels of another kind are no reason to fail where nobody asks for accuracy
    wanted = options.min_accuracy is not None or options.max_perplexity_ratio is not None or options.sweeping
    return given.labels if given is not None and wanted and not options.evaluate else None
