"""How long a child has been at work: on a machine that is busy with others, seconds on the wall say little."""

from __future__ import annotations

import os
import time
from pathlib import Path

# so many times as long by the wall, whoever else is at work
_PATIENCE = 10


class Watch:
    """From now on; ``seconds``: that it may compute."""

    def __init__(self, child: int, seconds: float) -> None:
        self._child, self._seconds = child, seconds
        self._begun, self._computed = time.monotonic(), _computed(child)

    @property
    def late(self) -> bool:
        """Whether it has computed for longer than it may, or waits for ever."""
        there, wall = _computed(self._child), time.monotonic() - self._begun
        if there is None or self._computed is None:
            return wall > self._seconds
        return there - self._computed > self._seconds or wall > _PATIENCE * self._seconds


def _computed(child: int) -> float | None:
    """Seconds that a process and the children it has seen end were on a processor; ``None`` where nothing tells."""
    try:
        fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
