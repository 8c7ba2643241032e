"""A pruned model and the one it came from, read and run side by side."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from spa_cli.analysis import analyse_model, analysed_as_it_ran
from spa_cli.calibration.chunks import Calibration
from spa_cli.calibration.fitting import fitted_to
from spa_cli.calibration.focus import Focus
from spa_cli.calibration.judging import first_of, judging_samples, or_feeds
from spa_cli.calibration.read import read_data
from spa_cli.calibration.reading import Reading
from spa_cli.errors import ModelError, VerificationError
from spa_cli.graph.source import Source
from spa_cli.graph.states import noted
from spa_cli.measures.panel import Panel
from spa_cli.options import Options
from spa_cli.progress import stage
from spa_cli.runtime.first_run import first_run
from spa_cli.runtime.session import openable
from spa_cli.runtime.widened import widened
from spa_cli.verification.check import verify_file
from spa_cli.verification.subject import Subject

_SAMPLES = 8
# synthetic samples to train on: as many as hold so many numbers, at least and at most. A picture of 224 pixels takes
# 70 ms to draw, one of 32 pixels 10 (one core); four are drawn for each where norms tell which suit
_NUMBERS, _MADE = 2.5e7, (512, 2048)


@dataclass(frozen=True, eq=False)
class Pair:
    """``subject``: the original, with samples that no training sees; ``samples``: those to train on."""

    subject: Subject
    pruned: Source
    samples: Calibration

    @property
    def panel(self) -> Panel:
        """Every output with the measure that fits it, but for states that lost channels."""
        return self.subject.panel.but([s.output for s in noted(self.pruned.model, self.subject.source.model)])

    @staticmethod
    def of(original: Source, pruned: Source, options: Options) -> Pair:
        """``options.tune`` has to be set: it says what is held back.

        Raises VerificationError if the second can't take the place of the first, UsageError for unusable samples.
        """
        focus = Focus.of(options.focus)
        check_trainable(original)
        stage("running the original")
        data = read_data(options, focus, Reading.of(options), original.graph)
        analysis = analyse_model(original, options.input_shape, data.shapes)
        held = judging_samples(analysis, options, focus, data) if data.fit is not None else None
        first = None if held is None else first_of(analysis.graph, held, _SAMPLES)
        feeds, reference = first_run(original, analysis.graph, analysis.state.shapes, analysis.shapes_to_try, first)
        if data.fit is None:
            analysis = analysed_as_it_ran(original, analysis, feeds)
        held = held or or_feeds(original, feeds, lambda: judging_samples(analysis, options, focus, data))
        subject = Subject(original, analysis, feeds, reference, held, data, said=options.judge_as)
        subject.panel  # noqa: B018 - raises UsageError, before any work, for what --as says and is not so
        stage("running the pruned model")
        try:
            states = noted(pruned.model, original.model)
            small = widened(openable(pruned), states)
            verify_file(small, original.model, subject.checked, reference, feeds, free=analysis.free_sizes())
        except VerificationError as error:
            raise VerificationError(
                f"'{pruned.name}' is no pruned '{original.name}': {error}; give the original as --teacher"
            ) from error
        return Pair(subject, pruned, trained_on(subject, options, focus))


def trained_on(subject: Subject, options: Options, focus: Focus) -> Calibration:
    """What steps see: of the user's samples ``calib_samples`` at most; of synthetic ones, which have to be drawn, no
    more than ``_NUMBERS`` are in, but between ``_MADE``.
    """
    most = options.calib_samples
    if subject.data.fit is None:
        each = sum(math.prod(shape[1:]) for shape in subject.analysis.input_shapes.values())
        most = min(most, int(np.clip(_NUMBERS / max(each, 1), *_MADE)))
    return fitted_to(subject.analysis, replace(options, calib_samples=most), focus, subject.data)


def check_trainable(source: Source) -> None:
    """Raises ModelError for a model that is too large to be trained."""
    if size := source.graph.too_large:
        raise ModelError(
            f"training holds the model in memory, and {size} of weights are more than onnxruntime takes from there "
            "(2 GB); use the framework that the original was trained in"
        )
