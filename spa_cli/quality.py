"""How good a pruned model still is, on samples that nothing was fitted to, by labels, or by the user's own command."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spa_cli.errors import UsageError, VerificationError
from spa_cli.graph.model import Array
from spa_cli.obspa.data import Calibration, samples_in
from spa_cli.obspa.synthetic import synthetic
from spa_cli.obspa.user_data import held_back, whole
from spa_cli.options import Options
from spa_cli.prepare import Subject
from spa_cli.verification.check import Drift, drift
from spa_cli.verification.inputs import read_calibration
from spa_cli.verification.labels import read_labels
from spa_cli.verification.session import open_session, run

_SAMPLES = 256
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


@dataclass(frozen=True)
class Measured:
    """``accuracy``: fraction of labels met, or the number that the user's command printed last."""

    drift: Drift
    accuracy: float | None


class Quality:
    """Measures models against the original; raises UsageError where what is asked for can't be measured.

    ``about``: on what.
    """

    def __init__(self, subject: Subject, options: Options) -> None:
        self._subject, self._command = subject, options.evaluate
        self._samples, self._labels = _samples(subject, options)
        self.about = self._samples.about
        self._scores = options.focused.output or _scores_output(subject, self._samples.chunks[0])
        session = open_session(subject.source)
        self._reference = [run(session, chunk) for chunk in self._samples.chunks]
        if self._labels is not None and not self._scores:
            self._labels = None
        if options.min_accuracy is not None and self._labels is None and self._command is None:
            raise UsageError(
                "--min-accuracy needs labels: an array 'labels' in --test (or --calib) beside the inputs and an output "
                "with class scores, or --eval 'command {model}' that prints a number"
            )

    def of_original(self) -> Measured:
        """The original's own."""
        return Measured(Drift(0.0, 1.0), self._accuracy(self._reference, self._subject.source.path))

    def of(self, model: Path) -> Measured:
        """A model in a file; raises VerificationError if it does not run or the user's command fails."""
        session = open_session(str(model))
        outputs = [run(session, chunk) for chunk in self._samples.chunks]
        flat = [[value for chunk in side for value in chunk] for side in (self._reference, outputs)]
        return Measured(drift(*flat), self._accuracy(outputs, model))

    def _accuracy(self, outputs: list[list[Array]], model: Path | None) -> float | None:
        if self._command is not None:
            return evaluate(self._command, model) if model is not None else None
        if self._labels is None:
            return None
        at = list(self._subject.analysis.graph.outputs).index(self._scores)
        assert self._samples.index is not None
        pairs = zip(outputs, self._samples.index, strict=True)
        hits = [out[at].argmax(-1).ravel() == self._labels[index].ravel() for out, index in pairs]
        return float(np.concatenate(hits).mean())


def evaluate(command: str, model: Path) -> float:
    """The last number that a command prints on stdout, ``{model}`` replaced by the file.

    Raises UsageError if the command does not name the model, VerificationError if it fails or prints no number.
    """
    if "{model}" not in command:
        raise UsageError("--eval names no {model}, the file to evaluate; write --eval 'python eval.py {model}'")
    line = command.replace("{model}", shlex.quote(str(model)))
    done = subprocess.run(line, shell=True, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "it printed nothing").splitlines()[-1]
        raise VerificationError(f"--eval failed with exit code {done.returncode}: {last[:200]}")
    numbers = _NUMBER.findall(done.stdout)
    if not numbers:
        raise VerificationError("--eval printed no number on stdout; print the accuracy last")
    return float(numbers[-1])


def _samples(subject: Subject, options: Options) -> tuple[Calibration, Array | None]:
    """Samples to measure on and their labels: ``--test``, a held-back part of ``--calib``, or synthetic ones."""
    graph = subject.analysis.graph
    path = options.test or options.calib
    if path is None:
        return synthetic(subject.analysis, _SAMPLES, options.seed + 1), None
    data = read_calibration(path, graph)
    count = len(next(iter(data.values())))
    labels = read_labels(path, graph, count)
    choose: Callable[..., Calibration] = whole if options.test is not None else held_back
    return choose(subject.analysis, data, str(path)), labels


def _scores_output(subject: Subject, chunk: dict[str, Array]) -> str:
    """The first float output with class scores of every sample, "" if there is none."""
    count = samples_in(chunk)
    for name, value in zip(subject.analysis.graph.outputs, run(open_session(subject.source), chunk), strict=True):
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.ndim >= 2 and len(value) == count:
            return name
    return ""
