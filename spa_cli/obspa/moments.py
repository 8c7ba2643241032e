"""Running first and second moments of a layer's inputs, in chunks, and covariances of targets with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np

from spa_cli.graph.model import Array
from spa_cli.obspa.shrinkage import POSITIONS
from spa_cli.obspa.wide import DOUBLE
from spa_cli.runtime.store import Kept, Store
from spa_cli.threads import each

# rows that are worth a product
_ENOUGH = 1024
# a mean of so many deviations drowns them in single precision: such coordinates are taken relative to it
_FAR = 10
# rows of a matrix that are worked on at once
_STRIPE = 1024
# rows of which a product is one piece of work: numbers among them, and how many rows that are at least and at most
_NUMBERS, _LEAST_ROWS, _MOST_ROWS = 1 << 20, 256, 16_384


T = TypeVar("T")


def damped(h: Array, damping: float | Array) -> Array:
    """``H + lambda I`` (g, p, p), with lambda ``damping`` (one, or (g,)) times the mean of the diagonal of ``H``."""
    p = h.shape[-1]
    level = np.maximum(np.trace(h, axis1=1, axis2=2) / p, 1e-12) * damping
    found: Array = h.copy()
    found[:, np.arange(p), np.arange(p)] += level[:, None]
    return found


@dataclass(frozen=True, eq=False)
class Shift:
    """What is taken off the rows of a layer, (g, 1, p); ``None``: nothing."""

    value: Array | None


@dataclass(frozen=True, eq=False)
class Product:
    """Of ``n`` rows, less ``shift``: ``X^T X`` (g, p, p), as single precision gives it, and sums (g, p)."""

    xx: Array
    x: Array
    n: int
    shift: Array | None

    @staticmethod
    def of(x: Array, shift: Array | None) -> Product:
        """``x`` (g, n, p)."""
        # of wide ones many products are much to add up, of very wide ones several at the same time would take too much
        rows = x.shape[1]
        if x.shape[2] <= DOUBLE:
            rows = min(_MOST_ROWS, max(_LEAST_ROWS, _NUMBERS // x[:, 0].size, 2 * x.shape[2]))
        parts = each(partial(_product, shift), (x[:, at : at + rows] for at in range(0, x.shape[1], rows)))
        xx, sums = next(parts)
        for more, also in parts:
            xx += more
            sums += also
        return Product(xx, sums, x.shape[1], shift)


def _product(shift: Array | None, x: Array) -> tuple[Array, Array]:
    moved = x if shift is None else x - shift
    return np.matmul(moved.transpose(0, 2, 1), moved), summed(moved)


def summed(x: Array) -> Array:
    """Sums over rows (g, n, p), in double precision; of a few columns ``sum`` takes three times as long."""
    return np.asarray(np.einsum("gnp->gp", x, dtype=np.float64))


def enough(x: Array) -> bool:
    """Whether rows (g, n, p) are worth a product of their own."""
    return bool(x.shape[1] >= max(x.shape[2] // 2, _ENOUGH))


class Moments:
    """Sums over rows of ``x`` (g, n, p): the Hessian of least squares, in O(p^2) memory whatever n is.

    ``rows``: independent ones among them (see ``shrinkage``).

    ``centred`` is false for a layer that has nowhere to put an intercept: means then count as zero.
    ``h``: centred ``X^T X / n`` (g, p, p), the paper's Hessian.
    """

    def __init__(self, centred: bool = True) -> None:
        self.n, self.rows, self._centred = 0, 0, centred
        self._taken = 0
        self._waiting: list[Array] = []
        # what is asked for takes the place of what was summed: of a wide layer both would be half a gigabyte
        self._xx: Array | None = None
        self._h: Array | None = None
        self._resting: Kept | None = None
        self._x: Array | None = None
        # what is taken off the rows before anything is summed, (g, 1, p); ``None``: nothing
        self._shift: Array | None = None

    def add(self, x: Array, samples: int = 0) -> None:
        """Add rows, which come from so many samples (0: each from its own)."""
        if not x.shape[1]:
            return
        x = x.astype(np.float32, copy=False)
        if self._taken and enough(x):
            # it need not be known who waits
            self._add_up(Product.of(x, self._shift))
        else:
            self._waiting.append(x)
            if sum(w.shape[1] for w in self._waiting) >= max(x.shape[2] // 2, _ENOUGH):
                self._take_up()
        self._count(x.shape[1], samples)

    def add_all(self, parts: Iterable[Array]) -> None:
        """Add rows part by part; products of several are made at the same time."""
        rest = iter(parts)
        for x in rest:
            self.add(x)
            if self._taken:
                break

        def multiplied(x: Array) -> Product | Array:
            return Product.of(x.astype(np.float32, copy=False), self._shift) if enough(x) else x

        for found in each(multiplied, rest):
            if isinstance(found, Product):
                self.add_product(found, 0)
            else:
                self.add(found)

    def add_product(self, product: Product, samples: int) -> None:
        """Add rows that were multiplied elsewhere, less the ``shift`` that these moments have; the first say it."""
        if not self._taken:
            self._shift = product.shift
        self._add_up(product)
        self._count(product.n, samples)

    @property
    def shift(self) -> Shift | None:
        """What is taken off all rows; ``None``: that is not known yet."""
        return Shift(self._shift) if self._taken else None

    def _count(self, n: int, samples: int) -> None:
        self.n += n
        self.rows += min(n, POSITIONS * (samples or n))

    def _take_up(self) -> None:
        """Add up the rows that wait: a product of many costs less than many of a few."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            x = waiting[0] if len(waiting) == 1 else np.concatenate(waiting, 1)
            if self._centred and not self._taken:
                self._shift = far(x)
            self._add_up(Product.of(x, self._shift))

    def _add_up(self, product: Product) -> None:
        if self._h is not None:
            m = self._moved
            self._xx, self._h = (self._h + m[:, :, None] * m[:, None, :]) * self._taken, None
        self._taken += product.n
        kept = product.xx if product.xx.shape[1] > DOUBLE else product.xx.astype(np.float64)
        if self._xx is None:
            # what came from elsewhere is not to be written to
            self._xx = kept if kept.flags.writeable else kept.copy()
        else:
            self._xx = np.add(self._xx, kept, out=self._xx)
        self._x = product.x if self._x is None else self._x + product.x

    def _with(self, x: Array, t: Array) -> tuple[Array, Array]:
        moved = x if self._shift is None else x - self._shift
        return np.matmul(t.transpose(0, 2, 1), moved).astype(np.float64), summed(t)

    @property
    def _moved(self) -> Array:
        """Mean of what was summed, (g, p); zero where none is to be taken off."""
        assert self._x is not None
        return np.asarray(self._x / self._taken) if self._centred else np.zeros_like(self._x)

    @property
    def mean_x(self) -> Array:
        """(g, p)."""
        self._take_up()
        return self._moved if self._shift is None else self._moved + self._shift[:, 0]

    @property
    def h(self) -> Array:
        """Covariance of ``x``, (g, p, p)."""
        if self._resting is not None:
            return np.asarray(self._resting.get())
        self._take_up()
        if self._h is None:
            assert self._xx is not None
            self._h, self._xx = np.divide(self._xx, self.n, out=self._xx), None
            for h, mean in zip(self._h, self._moved, strict=True):
                for at in range(0, len(h), _STRIPE):
                    h[at : at + _STRIPE] -= np.outer(mean[at : at + _STRIPE], mean)
        return self._h

    def rest(self, store: Store) -> None:
        """Nothing is added any more: the covariance is kept where there is room for it."""
        self._resting, self._h = store.put(self.h), None

    def packed(self) -> dict[str, Array]:
        """All of it as arrays, once nothing is added any more."""
        h = self.h
        found: dict[str, Any] = {"h": h, "x": self._x, "counts": np.array([self.n, self.rows, self._taken])}
        return found if self._shift is None else {**found, "shift": self._shift}

    @staticmethod
    def unpacked(arrays: Mapping[str, Array], store: Store) -> Moments:
        """What was ``packed``, at rest."""
        found = Moments()
        found.n, found.rows, found._taken = map(int, arrays["counts"])
        found._h, found._x, found._shift = arrays["h"], arrays["x"], arrays.get("shift")
        found.rest(store)
        return found

    @property
    def second(self) -> Array:
        """Second moment of ``x`` about zero, (g, p, p)."""
        self._take_up()
        if self._xx is not None and self._shift is None:
            return np.asarray(self._xx / self.n)
        m = self.mean_x
        return np.asarray(self.h + m[:, :, None] * m[:, None, :])

    def against(self, parts: Iterable[T], pair: Callable[[T], tuple[Array, Array]]) -> tuple[Array, Array]:
        """Covariance (g, o, p) and mean (g, o) of targets ``t`` (g, n, o) for the rows ``x`` that were added.

        ``pair``: ``x`` and ``t`` of a part.
        """
        self._take_up()
        tx, sums = np.zeros(()), np.zeros(())
        for product, total in each(lambda part: self._with(*pair(part)), parts):
            tx, sums = tx + product, sums + total
        mean_t = np.asarray(sums / self.n if self._centred else np.zeros_like(sums))
        return np.asarray(tx / self.n - mean_t[:, :, None] * self._moved[:, None, :]), mean_t


def far(x: Array) -> Array | None:
    """Means (g, 1, p) of the coordinates that hardly differ from theirs in the first rows, else zero; ``None`` if that
    is all.
    """
    x = x[:, :_ENOUGH]
    mean = summed(x)[:, None] / x.shape[1]
    deviation = np.sqrt(summed(np.square(x - mean.astype(np.float32)))[:, None] / x.shape[1])
    far = np.abs(mean) > _FAR * deviation
    return np.where(far, mean, 0).astype(np.float32) if far.any() else None
