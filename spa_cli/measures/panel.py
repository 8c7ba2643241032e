"""Every output of a model with the measure that fits it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spa_cli.errors import OptionError
from spa_cli.graph.known import Shapes
from spa_cli.graph.model import Graph
from spa_cli.measures import kinds
from spa_cli.measures.detections import Detections
from spa_cli.measures.heads import Heads, layouts
from spa_cli.measures.interval import Estimate
from spa_cli.measures.judged import Judged, Measure, percent
from spa_cli.measures.layout import Layout
from spa_cli.measures.recognise import Recogniser, Taken
from spa_cli.runtime.session import Feeds


@dataclass(frozen=True)
class Panel:
    """``names``: of the outputs; ``taken``: what each is taken for, several together where they say one thing.

    ``without``: outputs that are not judged.
    """

    names: tuple[str, ...] = ()
    taken: tuple[Taken, ...] = ()
    without: frozenset[int] = frozenset()

    @staticmethod
    def of(graph: Graph, shapes: Shapes, feeds: Feeds, reference: list[Any], said: Sequence[str] = ()) -> Panel:
        """By what a model gives (``reference``) for ``feeds``; ``said``: what the user says, of all or "OUTPUT=KIND".

        Raises UsageError for kinds and outputs that are not there, and for detections that can't be made out.
        """
        names = graph.outputs
        asked = {names.index(name): kind for name, kind in kinds.asked(said, names).items()}
        recogniser = Recogniser(graph, shapes, reference)
        heads = Heads(graph, recogniser, {n: np.shape(v) for n, v in feeds.items()}, reference)
        found = [_detections(one) for one in layouts(heads, asked, len(names))]
        covered = {at for one in found for at in one.outputs}
        lacking = [at for at, kind in asked.items() if kind == kinds.DETECTIONS]
        if lacking and not covered & set(lacking):
            raise OptionError(
                f"--as detections: no boxes with scores can be made out in '{names[lacking[0]]}'; leave it out, or "
                "name the outputs that hold them"
            )
        for at in range(len(names)):
            if at not in covered:
                kind = asked.get(at, "")
                found.append(recogniser.output(at, "" if kind == kinds.DETECTIONS else kind))
        return Panel(tuple(names), tuple(sorted(found, key=lambda one: one.outputs)))

    def but(self, names: Collection[str]) -> Panel:
        """Without these outputs, which lose channels as they should; all of them where nothing else would be left."""
        without = frozenset(at for at, name in enumerate(self.names) if name in names)
        taken = tuple(one for one in self.taken if without.isdisjoint(one.outputs))
        return Panel(self.names, taken, without) if len(without) < len(self.names) else self

    def begin(self) -> Bench:
        """Measures that have seen nothing yet."""
        return Bench(self)


class Bench:
    """The measures of a panel at work on one pruned model."""

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self._measures: list[Measure | None] = [one.make() if one.make else None for one in panel.taken]

    @property
    def plain(self) -> set[int]:
        """The outputs that nothing is known of."""
        return {at for one in self._panel.taken if one.make is None for at in one.outputs}

    def add(self, before: list[Any], after: list[Any], samples: int) -> None:
        """One run of both, all outputs, of so many samples."""
        for one, measure in zip(self._panel.taken, self._measures, strict=True):
            if measure is not None:
                measure.add([before[at] for at in one.outputs], [after[at] for at in one.outputs], samples)

    @property
    def judged(self) -> tuple[Judged, ...]:
        """What they found so far, of outputs that something is known of."""
        found = []
        for one, measure in zip(self._panel.taken, self._measures, strict=True):
            if measure is None:
                continue
            each = measure.found
            names = tuple(self._panel.names[at] for at in one.outputs)
            found.append(Judged(names, one.kind, one.why, each.agreement, each.text, each.figures, each.ruined))
        return tuple(found)

    def unjudged(self, agreement: dict[int, Estimate]) -> tuple[Judged, ...]:
        """The others, with how often their arg-max agrees, by index."""
        found = []
        for one in self._panel.taken:
            if one.make is None:
                agreed = agreement.get(one.outputs[0])
                names = tuple(self._panel.names[at] for at in one.outputs)
                text = "" if agreed is None else f"arg-max agrees on {percent(agreed)}"
                found.append(Judged(names, one.kind, one.why, agreed, text))
        return tuple(found)


def _detections(layout: Layout) -> Taken:
    return Taken(layout.outputs, kinds.DETECTIONS, layout.why, lambda: Detections(layout))
