"""How good a pruned model still is, on samples that nothing was fitted to, by labels, or by the user's own command."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from spa_cli.calibration.read import samples_to_fit, samples_to_test
from spa_cli.errors import UsageError, VerificationError
from spa_cli.graph.model import Array
from spa_cli.obspa.data import Calibration
from spa_cli.obspa.synthetic import synthetic
from spa_cli.obspa.user_data import held_back, whole
from spa_cli.options import Options
from spa_cli.prepare import Subject
from spa_cli.verification.accuracy import hits
from spa_cli.verification.check import Drift, drift
from spa_cli.verification.providers import chosen
from spa_cli.verification.session import floats, open_session, run

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
        self._judges = options.min_accuracy is not None or options.sweeping
        session = open_session(subject.source, providers=chosen())
        self._reference = [run(session, chunk) for chunk in self._samples.chunks]
        self._scores = self._fitting(options.focused.output)
        if options.max_drift is not None and not floats(self._reference[0]):
            raise UsageError(
                "--max-drift can't be measured: the model has no output of floating-point numbers; use --min-accuracy"
            )
        if options.min_accuracy is not None and self._scores is None and self._command is None:
            raise UsageError(
                "--min-accuracy needs labels that fit an output; give an array 'labels' in --test (or --calib) beside "
                "the inputs, class indices or one-hot, or --eval 'command {model}' that prints a number"
            )

    def _fitting(self, named: str) -> int | None:
        """The first output (or the named one) that the labels can be about."""
        if self._labels is None or self._samples.index is None:
            return None
        first = self._labels[self._samples.index[0]]
        for at, (name, value) in enumerate(zip(self._subject.analysis.graph.outputs, self._reference[0], strict=True)):
            if named in ("", name) and hits(value, first) is not None:
                return at
        return None

    def of_original(self) -> Measured:
        """The original's own."""
        return Measured(Drift(0.0, 1.0), self._accuracy(self._reference, self._subject.source.path))

    def of(self, model: Path) -> Measured:
        """A model in a file; raises VerificationError if it does not run or the user's command fails."""
        session = open_session(str(model), providers=chosen())
        outputs = [run(session, chunk) for chunk in self._samples.chunks]
        flat = [[value for chunk in side for value in chunk] for side in (self._reference, outputs)]
        return Measured(drift(*flat), self._accuracy(outputs, model))

    def drift_of(self, model: onnx.ModelProto) -> float:
        """Relative L2 drift of a model in memory on the first samples; raises what onnxruntime raises."""
        session = open_session(model, providers=chosen())
        return drift(self._reference[0], run(session, self._samples.chunks[0])).relative_l2

    def _accuracy(self, outputs: list[list[Array]], model: Path | None) -> float | None:
        if not self._judges:
            return None
        if self._command is not None:
            return evaluate(self._command, model) if model is not None else None
        if self._labels is None or self._scores is None or self._samples.index is None:
            return None
        pairs = zip(outputs, self._samples.index, strict=True)
        found = [hits(output[self._scores], self._labels[index]) for output, index in pairs]
        counted = [h for h in found if h is not None]
        return float(np.concatenate(counted).mean()) if sum(map(len, counted)) else None


def evaluate(command: str, model: Path) -> float:
    """The last number that a command prints on stdout, ``{model}`` replaced by the file.

    Raises VerificationError if it fails or prints no number.
    """
    line = command.replace("{model}", shlex.quote(str(model)))
    done = subprocess.run(line, shell=True, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "it printed nothing").splitlines()[-1]
        raise VerificationError(f"--eval failed with exit code {done.returncode}: {last[:200]}; mend the command")
    numbers = _NUMBER.findall(done.stdout)
    if not numbers:
        raise VerificationError("--eval printed no number on stdout; print the accuracy last")
    return float(numbers[-1])


def _samples(subject: Subject, options: Options) -> tuple[Calibration, Array | None]:
    """Samples to measure on and their labels: ``--test``, a held-back part of ``--calib``, or synthetic ones."""
    graph = subject.analysis.graph
    given = samples_to_test(options, graph) or samples_to_fit(options, graph)
    if given is None:
        return synthetic(subject.analysis, _SAMPLES, options.seed + 1), None
    # labels of another kind are no reason to fail where nobody asks for accuracy
    wanted = options.min_accuracy is not None or options.sweeping
    labels = given.labels if wanted and not options.evaluate else None
    choose: Callable[..., Calibration] = whole if options.test is not None else held_back
    return choose(subject.analysis, given.data, given.about), labels
