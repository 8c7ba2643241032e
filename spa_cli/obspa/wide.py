"""Layers with very many inputs: what is squared by them is kept and solved in single precision, once."""

from __future__ import annotations

import math

from spa_cli.memory import working_memory

# up to so many inputs a Hessian is double precision: half a gigabyte
DOUBLE = 8192
# matrices of so many bytes an element that are there at once
_COPIES, _BYTES = 3, 4


def widest() -> int:
    """As many inputs as a layer may have to be scored and refitted: its memory grows with their square."""
    return max(DOUBLE, math.isqrt(working_memory() // (_COPIES * _BYTES)))
