"""Batches of samples, every sample once before any comes again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from spa_cli.calibration.chunks import Calibration, fixed_size, samples_in
from spa_cli.graph.model import Array, Graph
from spa_cli.tuning.augment import TOLD, augmented

Feeds = dict[str, Array]


@dataclass(frozen=True, eq=False)
class Batches:
    """``runs``: what the model takes at once; ``size``: samples of a step. ``free``: runs may be cut and joined.

    ``parts``: runs that a step is made of where that is free.
    """

    runs: list[Feeds]
    size: int
    free: bool
    parts: int = 1

    @staticmethod
    def of(
        graph: Graph, samples: Calibration, size: int, told: list[Array] | None = None, together: int = 1
    ) -> Batches:
        """Of samples in any number where the model takes that; ``told``: by run, what goes with them.

        ``together``: runs that are made at the same time, if there are so many samples.
        """
        chunks = samples.chunks
        free = all(
            np.ndim(v) and len(v) == samples_in(c) and not fixed_size(graph, n) for c in chunks for n, v in c.items()
        )
        if told is not None:
            chunks = [{**chunk, TOLD: goals} for chunk, goals in zip(chunks, told, strict=True)]
        alike = len({tuple(np.shape(v)[1:] for v in c.values()) for c in chunks}) == 1
        if not (free and alike):
            return Batches(chunks, size, False)
        whole = {n: np.concatenate([c[n] for c in chunks]) for n in chunks[0]}
        return Batches([whole], size, True, min(together, size, samples_in(whole)))

    @property
    def samples(self) -> int:
        """How many there are."""
        return sum(samples_in(run) for run in self.runs)

    @property
    def steps(self) -> int:
        """Steps until every sample was seen."""
        return max(1, self.samples // self.size) if self.free else max(1, len(self.runs) // self.runs_of_a_step)

    @property
    def runs_of_a_step(self) -> int:
        """How many there are, of those that can't be joined or are not."""
        return self.parts if self.free else max(1, self.size // max(samples_in(self.runs[0]), 1))

    def __call__(self, ways: tuple[str, ...], rng: np.random.Generator) -> Iterator[list[Feeds]]:
        """Without end: what one step is made of, changed in these ways."""
        while True:
            if not self.free:
                order = rng.permutation(len(self.runs))
                together = self.runs_of_a_step
                for start in range(0, len(order) - together + 1, together):
                    yield _changed([self.runs[i] for i in order[start : start + together]], ways, rng)
                continue
            (whole,) = self.runs
            order = rng.permutation(self.samples)
            size = min(self.size, self.samples)
            for start in range(0, self.samples - size + 1, size):
                at = order[start : start + size]
                yield _apart(augmented({n: v[at] for n, v in whole.items()}, ways, rng), self.parts)

    def in_order(self) -> list[Feeds]:
        """All samples, as they are, in runs as long as those of a step at most."""
        return [*self.plain(-(-self.size // self.parts))]

    def plain(self, size: int) -> Iterator[Feeds]:
        """All samples as they are, in order, so many at once where that is free."""
        if not self.free:
            yield from self.runs
            return
        (whole,) = self.runs
        for start in range(0, self.samples, size):
            yield {n: v[start : start + size] for n, v in whole.items()}


def _changed(runs: list[Feeds], ways: tuple[str, ...], rng: np.random.Generator) -> list[Feeds]:
    """Runs of a step, whose samples are mixed with those of others where they are of one shape."""
    shapes = {tuple(np.shape(v) for v in run.values()) for run in runs}
    if len(shapes) > 1 or any(not shape for shape in shapes.pop()):
        return [augmented(run, ways, rng) for run in runs]
    return _apart(augmented({n: np.concatenate([run[n] for run in runs]) for n in runs[0]}, ways, rng), len(runs))


def _apart(feeds: Feeds, parts: int) -> list[Feeds]:
    """In so many runs, of as many samples each as can be."""
    apart = {n: np.array_split(value, parts) for n, value in feeds.items()}
    return [{n: values[i] for n, values in apart.items()} for i in range(parts)]
