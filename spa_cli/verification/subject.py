"""The original: what a pruned model is compared with."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from onnxruntime import InferenceSession

from spa_cli.analysis import Analysis
from spa_cli.calibration.chunks import Calibration, fixed_size, samples_in
from spa_cli.calibration.judging import first_of
from spa_cli.calibration.read import Data
from spa_cli.errors import OptionError
from spa_cli.graph.source import Source
from spa_cli.measures.panel import Panel
from spa_cli.runtime.providers import chosen
from spa_cli.runtime.session import Feeds, Openable, open_session, passes_checker, run
from spa_cli.runtime.timed import asked
from spa_cli.verification.structure import Structure


@dataclass(frozen=True, eq=False)
class Subject:
    """A model that was loaded, analysed and run: ``reference`` is what it gives for ``feeds``.

    ``structure``: stands in for running it where that is not wanted; feeds, reference and judges are empty then.

    ``judges``: samples that nothing is fitted to (the feeds themselves where it does not run on others). ``data``: the
    user's own. ``warnings``: what the user should know of what was asked of it. ``said``: what outputs are, by --as.
    """

    source: Source
    analysis: Analysis
    feeds: Feeds
    reference: list[Any]
    judges: Calibration
    data: Data = field(default_factory=Data)
    warnings: tuple[str, ...] = ()
    structure: Structure | None = None
    said: tuple[str, ...] = ()

    @staticmethod
    def not_run(source: Source, analysis: Analysis, warnings: tuple[str, ...] = ()) -> Subject:
        """Of a model that is not run as a whole."""
        return Subject(
            source, analysis, {}, [], Calibration([], ""), warnings=warnings, structure=Structure(source, analysis)
        )

    @cached_property
    def panel(self) -> Panel:
        """Every output with the measure that fits it; raises UsageError for what --as says and is not so."""
        analysis = self.analysis
        panel = Panel.of(analysis.graph, analysis.state.shapes, self.feeds, self.reference, self.said)
        return panel.but([p.output for p in analysis.state.pairs if not p.why])

    def beside(self, other: Openable) -> tuple[InferenceSession, InferenceSession]:
        """The original and another model, to be run on the same samples."""
        before, after = (open_session(m, large=self.source.external, providers=chosen()) for m in (self.source, other))
        return before, after

    @cached_property
    def checked(self) -> tuple[bool, bool]:
        """Whether onnx's checker accepts the model with and without strict shape inference."""
        return passes_checker(self.source)

    @cached_property
    def timed(self) -> Feeds:
        """What is timed: as many samples at a time as --batch says, one unless it does.

        Raises OptionError where the model takes them in another number.
        """
        batch = asked().batch
        found = self.single if batch == 1 else self.several(batch)
        if found is None:
            raise OptionError(
                f"--batch {batch} can't be timed: '{self.source.name}' takes {samples_in(self.single)} at a time; "
                "leave it out"
            )
        return found

    @cached_property
    def single(self) -> Feeds:
        """One sample, where the model leaves their number free."""
        one = first_of(self.analysis.graph, Calibration([self.feeds], ""), 1)
        return one if self._runs(one) else self.feeds

    def several(self, count: int) -> Feeds | None:
        """``count`` times the same sample, where that is free."""
        one = self.single
        if any(fixed_size(self.analysis.graph, name) for name in one) or not all(map(np.ndim, one.values())):
            return None
        many = {name: np.repeat(value, count, axis=0) for name, value in one.items()}
        return many if self._runs(many) else None

    def _runs(self, feeds: Feeds) -> bool:
        try:
            run(open_session(self.source, large=self.source.external), feeds)
        except Exception:  # noqa: BLE001 - whatever onnxruntime raises: its samples don't come in such numbers
            return False
        return True
