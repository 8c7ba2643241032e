"""Steps of the repair walk that an earlier run of the same command came to the end of."""

from __future__ import annotations

import json
from itertools import count

import numpy as np

from spa_cli.checkpoints import checkpoints
from spa_cli.obspa.sides import Repair, Sides


class Steps:
    """What was fitted before is written into the pruned network at once: what it gives from then on is what it gave.

    ``done``: the nodes that were visited until then, which nothing is fitted at any more.
    """

    def __init__(self, sides: Sides) -> None:
        self._sides, self._kept, self.done = sides, checkpoints(), 0
        self._numbers = count()
        while (before := self._kept.get(self._name(step := next(self._numbers)))) is not None:
            about = json.loads(str(before["about"]))
            for at, name in enumerate(about["written"]):
                sides.pruned.write(name, before[f"parameter/{at}"])
            self.done, sides.where.state = about["visited"], about["draws"]
            sides.report.__dict__.update(vars(Repair(**about["report"])))
        sides.pruned.taken()
        self._next = step

    def keep(self, visited: int) -> None:
        """One more was done, at the node of that number."""
        written = self._sides.pruned.taken()
        if not self._kept.active:
            return
        about = {"written": [*written], "visited": visited + 1, "draws": self._sides.where.state}
        about["report"] = vars(self._sides.report)
        arrays = {f"parameter/{at}": value for at, value in enumerate(written.values())}
        self._kept.put(self._name(self._next), {**arrays, "about": np.array(json.dumps(about))})
        self._next += 1

    @staticmethod
    def _name(step: int) -> str:
        return f"repair-{step}"
