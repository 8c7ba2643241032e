"""The samples of a walk in waves: where activations are large as many as fit in memory, all where they are small.

Early layers of a convolutional network have many positions a sample, so a part of the samples says enough of them;
late ones have few (pooled features one), and need every sample there is.
"""

from __future__ import annotations

from spa_cli.calibration.chunks import samples_in
from spa_cli.graph.model import Array

# a wave is run from the start of the network: it has to be worth that
_WORTH = 1.5


class Waves:
    """``room``: how many samples fit from a node on, by its first output (it never falls along the graph).

    ``samples``: how many were taken so far.
    """

    def __init__(self, chunks: list[dict[str, Array]], room: dict[str, int]) -> None:
        self._waiting, self._room = list(chunks), room
        self._total = sum(map(samples_in, chunks))
        self.samples = 0

    def first(self) -> list[dict[str, Array]]:
        """The chunks that fit everywhere, one at least."""
        return self._take(min(self._room.values(), default=self._total))

    def more(self, output: str) -> list[dict[str, Array]]:
        """The chunks to take up before the node that gives ``output``."""
        fit = min(self._room.get(output, 0), self._total)
        return self._take(fit) if fit == self._total or fit >= _WORTH * self.samples else []

    def _take(self, count: int) -> list[dict[str, Array]]:
        taken: list[dict[str, Array]] = []
        while self._waiting and (not self.samples or self.samples + samples_in(self._waiting[0]) <= count):
            taken.append(self._waiting.pop(0))
            self.samples += samples_in(taken[-1])
        return taken
