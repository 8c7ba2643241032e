"""Greedy OBS on coupled channels: the error curve of each group and the order in which its channels go."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spa_cli.graph.model import Array
from spa_cli.obspa.moments import damped

_DAMPING = 1e-4
# coordinates that are gone are left out once there are so many that it pays
_WORTH = 0.8


class Consumer:
    """One layer that reads a group's channels: ``W`` (o, p), ``V = (H + lambda I)^-1``, coordinates per channel.

    ``places`` (c, s): the ``s`` coordinates of each channel (of one block). ``weight`` multiplies its error, so that
    consumers are comparable (one over the variance of what its output is added into).
    """

    def __init__(self, w: Array, h: Array, places: NDArray[np.int64], weight: float) -> None:
        self.v = np.linalg.inv(damped(h[None], _DAMPING)[0])
        self.w = w.astype(np.float64).copy()
        self.places, self.weight = places, weight
        self.alive = np.ones(len(places), bool)
        self._left = np.ones(len(h), bool)

    def scores(self) -> Array:
        """``tr(W_c [V_cc]^-1 W_c^T)`` for every channel, infinite for those that are gone; (c,)."""
        live = np.flatnonzero(self.alive)
        places = self.places[live]
        blocks = self.v[places[:, :, None], places[:, None, :]]
        columns = self.w[:, places]  # (o, c, s)
        grams = np.einsum("ocs,oct->cst", columns, columns, optimize=True)
        result = np.full(len(self.places), np.inf)
        result[live] = np.einsum("cst,cts->c", np.linalg.inv(blocks), grams) * self.weight
        return result

    def remove(self, channel: int) -> None:
        """Downdate: ``W -= W_p V_pp^-1 V_p``, ``V -= V_p V_pp^-1 V_p``."""
        at = self.places[channel]
        gain = np.linalg.solve(self.v[np.ix_(at, at)], self.v[at])
        self.w -= self.w[:, at] @ gain
        self.v -= self.v[:, at] @ gain
        self.alive[channel] = False
        self._left[at] = False
        if self._left.sum() < _WORTH * len(self._left):
            self._drop()

    def _drop(self) -> None:
        """Leave the coordinates out that are gone: nothing reads them again, and every step would bring them up."""
        kept = np.flatnonzero(self._left)
        self.places = (np.cumsum(self._left) - 1)[self.places]
        self.v, self.w, self._left = self.v[np.ix_(kept, kept)], self.w[:, kept], self._left[kept]


class Rigid:
    """A layer whose weights can't be refitted (shared, integers): a removal costs what it takes away, uncompensated.

    ``second``: the second moment ``M`` of its inputs about zero. With ``S`` gone, removing ``c`` adds
    ``tr(W_c M_cc W_c^T) + 2 tr(W_c M_cS W_S^T)`` to the squared error.
    """

    def __init__(self, w: Array, second: Array, places: NDArray[np.int64], weight: float) -> None:
        columns = w[:, places]  # (o, c, s)
        moments = second[places[:, None, :, None], places[None, :, None, :]]  # (c, c, s, s)
        grams = np.einsum("oas,obt->abst", columns, columns, optimize=True)
        self._between = (moments * grams).sum((2, 3)) * weight
        self._gone = np.zeros(len(places), bool)

    def scores(self) -> Array:
        """Increase of the error for every channel, infinite for those that are gone; (c,)."""
        rise = np.diag(self._between) + 2 * self._between[:, self._gone].sum(1)
        return np.where(self._gone, np.inf, rise)

    def remove(self, channel: int) -> None:
        """It is gone."""
        self._gone[channel] = True


def greedy(consumers: Sequence[Consumer | Rigid], channels: int) -> tuple[NDArray[np.int64], Array]:
    """(order (c,), error of each removal (c,)): at every step the least salient channel over all consumers goes."""
    order, errors = [], []
    for _ in range(channels):
        total = np.sum([c.scores() for c in consumers], 0)
        least = int(np.argmin(total))
        order.append(least)
        errors.append(max(float(total[least]), 0.0))
        if len(order) < channels:
            for consumer in consumers:
                consumer.remove(least)
    return np.array(order), np.array(errors)


def convex(errors: Array) -> Array:
    """Increments of the lower convex hull of the cumulative curve (pool adjacent violators)."""
    means: list[float] = []
    sizes: list[int] = []
    for value in errors:
        means.append(float(value))
        sizes.append(1)
        while len(means) > 1 and means[-2] > means[-1]:
            size = sizes[-2] + sizes[-1]
            means[-2] = (means[-2] * sizes[-2] + means[-1] * sizes[-1]) / size
            sizes[-2] = size
            means.pop()
            sizes.pop()
    return np.repeat(means, sizes)
