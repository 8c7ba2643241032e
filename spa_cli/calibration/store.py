"""Samples as they are drawn, pictures as bytes: what the model takes is made of them chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spa_cli.analysis import Analysis
from spa_cli.calibration.chunks import chunks_at, cuts_of
from spa_cli.calibration.kinds import Kind
from spa_cli.graph.model import Array

Positions = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Store:
    """``drawn``: samples of every input; ``kept``: which of them stay, in their order."""

    kinds: Mapping[str, Kind]
    drawn: dict[str, Array]
    kept: Positions

    @staticmethod
    def of(analysis: Analysis, kinds: Mapping[str, Kind], count: int, rng: np.random.Generator) -> Store:
        """So many samples of every input."""
        shapes = analysis.input_shapes
        drawn = {n: kind.draw(count, shapes[n][1:] if shapes[n] else (), rng) for n, kind in kinds.items()}
        return Store(kinds, drawn, np.arange(count))

    def only(self, kept: Positions) -> Store:
        """Those at these positions; the others are forgotten."""
        return replace(self, drawn={n: a[kept] for n, a in self.drawn.items()}, kept=self.kept[kept])

    def chunks(self, analysis: Analysis) -> Iterator[tuple[Positions, dict[str, Array]]]:
        """Chunks that the model takes, and which samples each is of (of the first input, where they differ)."""
        for cut in cuts_of(analysis, self.drawn, len(self.kept)):
            made = {n: self.kinds[n].finished(self.drawn[n][at], self.kept[at]) for n, at in cut.items()}
            whole = {n: np.arange(len(at)) for n, at in cut.items()}
            yield next(iter(cut.values())), chunks_at(analysis.graph, made, [whole])[0]
