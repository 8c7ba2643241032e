"""How often a model's scores meet labels, whatever the layout of its classes; or what the user's own command says."""

from __future__ import annotations

import math
import re
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from spa_cli.errors import VerificationError, first_line
from spa_cli.graph.model import Array
from spa_cli.graph.save import Staged
from spa_cli.graph.source import Source
from spa_cli.measures.interval import Estimate, Tally, share
from spa_cli.options.words import Evaluation

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


@dataclass(frozen=True)
class Accuracy:
    """Of the original (``None`` where it was not measured) and of the pruned model, by labels or by the user's command
    (whose numbers have no interval); ``by`` says which.
    """

    before: Estimate | None
    after: Estimate
    by: str


class Met:
    """How often two models meet labels, over as many runs as it takes.

    ``labels``: (n, ...) of all samples; the first output that they can be about is judged, or that at ``output``.
    """

    def __init__(self, labels: Array, names: Sequence[str], output: int | None = None) -> None:
        self._labels, self._names, self._output = labels, names, output
        # met before, met after, all
        self._tally = Tally(3)
        self._fits = True

    def add(self, before: list[Any], after: list[Any], index: NDArray[np.int64]) -> None:
        """Outputs of one run of both on the samples at ``index``."""
        labels = self._labels[index]
        if self._output is None:
            self._output = next((at for at, v in enumerate(before) if _answers(v, labels) is not None), -1)
        found = [_answers(side[self._output], labels) for side in (before, after)] if self._output >= 0 else [None]
        rows = []
        for answer in found:
            if answer is None:
                # those of other runs would say nothing of all
                self._fits = False
                return
            said, right = (v.reshape(len(index), -1) for v in answer)
            rows.append(((said == right) & (right >= 0)).sum(1))
        self._tally.add(*rows, (right >= 0).sum(1))

    @property
    def accuracy(self) -> Accuracy | None:
        """``None`` where the labels can't be about any output."""
        before, after, every = self._tally.columns
        if not self._fits or not every.sum() or self._output is None:
            return None
        return Accuracy(share(before, every), share(after, every), f"labels of '{self._names[self._output]}'")


def hits(output: Any, labels: Array) -> NDArray[np.bool_] | None:
    """Per label that counts (negative ones don't), whether the output meets it; ``None`` if it can't be about them.

    ``labels`` (n, ...) are class indices, one-hot rows, or 0 and 1 for an output with one score a sample. Classes are
    on the last axis of the output or on axis 1; an integer output names the classes itself.
    """
    found = _answers(output, labels)
    if found is None:
        return None
    said, labels = (v.ravel() for v in found)
    return np.asarray((said == labels)[labels >= 0])


def _answers(output: Any, labels: Array) -> tuple[Array, Array] | None:
    """What the output says, and what is right, as class indices of one shape."""
    if not isinstance(output, np.ndarray) or not output.ndim or len(output) != len(labels):
        return None
    if labels.dtype.kind == "f" and not (labels == np.round(labels)).all():
        return None
    if labels.shape == output.shape and output.ndim >= 2 and output.shape[-1] > 1 and _one_hot(labels):
        labels = labels.argmax(-1)
    said = _classes(output, labels)
    return None if said is None else (said, labels)


def _one_hot(labels: Array) -> bool:
    return bool(((labels == 0) | (labels == 1)).all() and (labels.sum(-1) == 1).all())


def _classes(output: Array, labels: Array) -> Array | None:
    """What the output says, shaped like the labels."""
    if output.dtype.kind in "iub":
        return output if output.shape == labels.shape else None
    if output.dtype.kind != "f":
        return None
    most = int(labels.max(initial=0))
    if output.size == labels.size and most <= 1:
        scores = output.reshape(labels.shape)
        # probabilities lie between 0 and 1, logits on both sides of 0
        half = 0.5 if scores.min() >= 0 and scores.max() <= 1 else 0.0
        return np.asarray(scores > half).astype(np.int64)
    for axis in (output.ndim - 1, 1):
        if axis < output.ndim and np.delete(output.shape, axis).tolist() == list(labels.shape):
            return np.asarray(output.argmax(axis)) if output.shape[axis] > max(most, 1) else None
    return None


def evaluate(command: str | Evaluation, model: Path) -> float:
    """The last number that a command prints on stdout, ``{model}`` replaced by the file; or what a function gives,
    called with the file.

    Raises VerificationError if it fails or gives no number.
    """
    if not isinstance(command, str):
        return _called(command, model)
    line = command.replace("{model}", shlex.quote(str(model)))
    done = subprocess.run(line, shell=True, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "it printed nothing").splitlines()[-1]
        raise VerificationError(f"--eval failed with exit code {done.returncode}: {last[:200]}; mend the command")
    numbers = _NUMBER.findall(done.stdout)
    if not numbers:
        raise VerificationError("--eval printed no number on stdout; print the accuracy last")
    return float(numbers[-1])


def _called(function: Evaluation, model: Path) -> float:
    try:
        found = function(str(model))
    except Exception as error:
        raise VerificationError(
            f"the function that evaluates failed with {type(error).__name__} ({first_line(error)}); mend it"
        ) from error
    try:
        value = float(found)
    except (TypeError, ValueError):
        raise VerificationError(
            f"the function that evaluates gave a {type(found).__name__}; give the accuracy as a number"
        ) from None
    if not math.isfinite(value):
        # no limit would be missed by it
        raise VerificationError(f"the function that evaluates gave {value}, which is no accuracy; mend it")
    return value


def by_command(command: str | Evaluation, before: Source, after: Source | Path) -> Accuracy:
    """What the user's command says of both files; raises VerificationError where it fails."""
    with in_file(before) as path:
        dense = Estimate(evaluate(command, path))
    with in_file(after) as path:
        small = Estimate(evaluate(command, path))
    return Accuracy(dense, small, "--eval" if isinstance(command, str) else "evaluate")


@contextmanager
def in_file(model: Source | Path) -> Iterator[Path]:
    """Its file; of a model from memory one that is there as long as the ``with`` lasts."""
    path = model.path if isinstance(model, Source) else model
    if path is not None:
        yield path
        return
    assert isinstance(model, Source)
    staged = Staged("model.onnx", model.folder, None)
    try:
        copy = onnx.ModelProto()
        copy.CopyFrom(model.given or model.model)
        staged.write(copy, model.external)
        yield staged.path
    finally:
        staged.discard()
