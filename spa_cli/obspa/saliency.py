"""Greedy OBS on coupled channels: the error curve of each group and the order in which its channels go."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spa_cli.graph.model import Array
from spa_cli.obspa.moments import damped

DAMPING = 1e-4
# coordinates that are removed before ``V`` and ``W`` are brought up to date
_BLOCK = 64
# what is smaller than this, relative to the largest, may be made of rounding
_ROUNDED = 1e-12


class Consumer:
    """One layer that reads a group's channels: ``W`` (o, p), ``V = (H + lambda I)^-1``, coordinates per channel.

    ``places`` (c, s): the ``s`` coordinates of each channel (of one block). ``weight`` multiplies its error, so that
    consumers are comparable (one over the variance of what its output is added into).

    A removal changes all of ``V`` and ``W``, of which the scores only need the blocks ``V_cc`` and ``W_c^T W_c``: these
    are kept up to date, the rest lags behind by ``A^T A`` and ``B A`` of a few removals, which are applied together.
    """

    def __init__(self, w: Array, v: Array, places: NDArray[np.int64], weight: float) -> None:
        # several may have it in common: it is not written to
        self._v = v
        self._w = w.astype(np.float64)
        self.places, self.weight = places, weight
        self.alive = np.ones(len(places), bool)
        self._left = np.ones(len(v), bool)
        self._late = 0
        self._blocks: Array
        self._grams: Array
        self._reread()

    @property
    def v(self) -> Array:
        """``V`` as it is by now."""
        return np.asarray(self._v - self._a[: self._late].T @ self._a[: self._late])

    @property
    def w(self) -> Array:
        """``W`` as it is by now."""
        return np.asarray(self._w - self._b[:, : self._late] @ self._a[: self._late])

    def scores(self) -> Array:
        """``tr(W_c [V_cc]^-1 W_c^T)`` for every channel, infinite for those that are gone; (c,)."""
        result = np.full(len(self.places), np.inf)
        blocks, grams = self._blocks[self.alive], self._grams[self.alive]
        if blocks.shape[1] == 1:
            result[self.alive] = (grams / blocks)[:, 0, 0] * self.weight
        else:
            result[self.alive] = np.einsum("cst,cts->c", np.linalg.inv(blocks), grams) * self.weight
        return result

    def remove(self, channel: int) -> None:
        """Downdate: ``W -= W_p V_pp^-1 V_p``, ``V -= V_p V_pp^-1 V_p``."""
        at = self.places[channel]
        if self._late + len(at) > len(self._a):
            self._catch_up()
            at = self.places[channel]
        late, end = self._late, self._late + len(at)
        a, b = self._a[:late], self._b[:, :late]
        rows = self._v[at] - a[:, at].T @ a
        root = inverse_root(rows[:, at])
        # V loses a^T a, W loses b a
        self._a[late:end] = new = root @ rows
        self._b[:, late:end] = lost = (self._w[:, at] - b @ a[:, at]) @ root.T
        # (p, s): W^T b, before the removal
        across = self._w.T @ lost - a.T @ (b.T @ lost)
        of_channel = new.T[self.places]
        self._blocks -= of_channel @ of_channel.swapaxes(1, 2)
        half = (across - 0.5 * new.T @ (lost.T @ lost))[self.places] @ of_channel.swapaxes(1, 2)
        self._grams -= half + half.swapaxes(1, 2)
        self._late = end
        self.alive[channel] = False
        self._left[at] = False

    def _catch_up(self) -> None:
        """Apply what lags behind, and leave the coordinates out that are gone: nothing reads them again."""
        kept = np.flatnonzero(self._left)
        a, b = self._a[: self._late, kept], self._b[:, : self._late]
        self._v = self._v[np.ix_(kept, kept)] - a.T @ a
        self._w = self._w[:, kept] - b @ a
        # of channels that are gone any place will do
        self.places = np.where(self.alive[:, None], (np.cumsum(self._left) - 1)[self.places], 0)
        self._left = self._left[kept]
        self._reread()

    def _reread(self) -> None:
        room = max(_BLOCK, self.places.shape[1])
        self._a, self._b, self._late = np.empty((room, len(self._v))), np.empty((len(self._w), room)), 0
        self._blocks = self._v[self.places[:, :, None], self.places[:, None, :]]
        columns = self._w.T[self.places]  # (c, s, o)
        self._grams = columns @ columns.swapaxes(1, 2)


def inverse(h: Array) -> Array:
    """``V = (H + lambda I)^-1``."""
    return np.asarray(np.linalg.inv(damped(h[None], DAMPING)[0]))


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


def inverse_root(block: Array) -> Array:
    """``R`` (s, s) with ``R^T R`` the inverse of a positive ``block``, which rounding may have left not quite so."""
    try:
        return np.asarray(np.linalg.inv(np.linalg.cholesky(block)))
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh((block + block.T) / 2)
        least = _ROUNDED * max(float(np.abs(values).max()), np.finfo(np.float64).tiny)
        return np.asarray((vectors / np.sqrt(np.maximum(values, least))).T)


def greedy(
    consumers: Sequence[Consumer | Rigid], channels: int, times: Sequence[float] = ()
) -> tuple[NDArray[np.int64], Array]:
    """(order (c,), error of each removal (c,)): at every step the least salient channel over all consumers goes.

    ``times``: as what multiple the error of each consumer counts (once), whatever goes first.
    """
    order, errors, counts = [], [], np.array(times or [1.0] * len(consumers))
    for _ in range(channels):
        each = np.array([c.scores() for c in consumers])
        least = int(np.argmin(each.sum(0)))
        order.append(least)
        errors.append(max(float(counts @ each[:, least]), 0.0))
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
