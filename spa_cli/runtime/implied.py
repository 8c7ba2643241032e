"""Sizes of free dimensions that constants in a graph imply: grids, tables of positions, targets of Reshape, layers.

What a constant does not fit to depends on the sizes of the inputs. How, is seen at twice each size; then it is known
where it would fit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import islice

import numpy as np

from spa_cli.graph.demands import Demand, Place
from spa_cli.graph.model import Array
from spa_cli.runtime.sizes import Sizes

# what heights and widths are multiples of: strides of networks, patches
_UNITS, _LARGEST = (32, 16, 14, 8), 1536
# of anything else: a file may say what it likes
_LONGEST = 1 << 16
# candidates a kind
_MOST = 4

At = Callable[[Sizes], Mapping[Place, Demand]]


def implied(at: At, base: Sizes) -> Iterator[Sizes]:
    """Sizes at which what does not fit at ``base`` may, the likeliest first; ``at`` gives what is asked for at some."""
    misfits = {place: demand for place, demand in at(base).items() if not demand.met}
    if not misfits:
        return
    yield from islice(_spaces(at, base, misfits), _MOST)
    for kind in ("length", "channels", "batch"):
        yield from islice(_line(at, base, kind, misfits), _MOST)


def _missing(demand: Demand) -> int:
    return demand.asked - demand.there


def _line(at: At, base: Sizes, kind: str, misfits: Mapping[Place, Demand]) -> Iterator[Sizes]:
    """Where what is missing, which grows by equal steps with one size, is nothing; what most agree on first."""
    size = getattr(base, kind)
    twice = at(replace(base, **{kind: 2 * size}))
    votes = Counter[int]()
    for place in misfits.keys() & twice.keys():
        here, there = _missing(misfits[place]), _missing(twice[place])
        if here != there and (size * here) % (here - there) == 0:
            votes[size + size * here // (here - there)] += 1
    for found in sorted(votes, key=lambda size: (-votes[size], size)):
        if 0 < found <= _LONGEST:
            yield replace(base, **{kind: found})


def _spaces(at: At, base: Sizes, misfits: Mapping[Place, Demand]) -> Iterator[Sizes]:
    """The same for heights and widths together, the product of which counts too; squares first, then what lies."""
    probes = [
        at(replace(base, height=h * base.height, width=w * base.width)) for h, w in ((1, 1), (2, 1), (1, 2), (2, 2))
    ]
    plain, tall, wide, large = probes
    heights, widths = _axis(base.height, plain != tall), _axis(base.width, plain != wide)
    h, w = heights[:, None] / base.height - 1, widths[None] / base.width - 1
    fitting = np.zeros((len(heights), len(widths)), np.int64)
    for place in misfits.keys() & tall.keys() & wide.keys() & large.keys():
        here, by_height, by_width, both = (_missing(p[place]) for p in probes)
        steps = (by_height - here, by_width - here, both - by_height - by_width + here)
        if any(steps):
            missing = np.abs(here + steps[0] * h + steps[1] * w + steps[2] * h * w)
            fitting += missing < 1e-6 * max(map(abs, (here, *steps)))
    # a little more for what lies than for what stands
    square = np.abs(np.log(heights[:, None] / widths[None]) + 1e-6)
    for index in np.lexsort((square.ravel(), -fitting.ravel())):
        row, column = divmod(int(index), len(widths))
        if not fitting[row, column]:
            return
        yield replace(base, height=int(heights[row]), width=int(widths[column]))


def _axis(size: int, free: bool) -> Array:
    """Sizes that it may have."""
    return np.unique([n for unit in _UNITS for n in range(unit, _LARGEST + 1, unit)]) if free else np.array([size])
