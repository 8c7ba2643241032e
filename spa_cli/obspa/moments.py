"""Running first and second moments of a layer's inputs and targets, in chunks."""

from __future__ import annotations

import numpy as np

from spa_cli.graph.model import Array


class Moments:
    """Sums over rows of ``x`` (g, n, p) and ``t`` (g, n, o): everything least squares needs, in O(p^2) memory.

    ``centred`` is false for a layer that has nowhere to put an intercept: means then count as zero.
    ``h``: centred ``X^T X / n`` (g, p, p), the paper's Hessian; ``c``: centred ``T^T X / n`` (g, o, p).
    """

    def __init__(self, centred: bool = True) -> None:
        self.n, self._centred = 0, centred
        self._xx: Array | None = None
        self._tx: Array | None = None
        self._x: Array | None = None
        self._t: Array | None = None
        self._tt: Array | None = None

    def add(self, x: Array, t: Array | None = None) -> None:
        """Add rows; ``t`` may be left out if only ``h`` is wanted."""
        if not x.shape[1]:
            return
        x = x.astype(np.float32, copy=False)
        xx = np.matmul(x.transpose(0, 2, 1), x).astype(np.float64)
        x_sum = x.sum(1, dtype=np.float64)
        self._xx = xx if self._xx is None else self._xx + xx
        self._x = x_sum if self._x is None else self._x + x_sum
        if t is not None:
            t = t.astype(np.float32, copy=False)
            tx = np.matmul(t.transpose(0, 2, 1), x).astype(np.float64)
            t_sum, tt = t.sum(1, dtype=np.float64), np.square(t, dtype=np.float64).sum(1)
            self._tx = tx if self._tx is None else self._tx + tx
            self._t = t_sum if self._t is None else self._t + t_sum
            self._tt = tt if self._tt is None else self._tt + tt
        self.n += x.shape[1]

    def __add__(self, other: Moments) -> Moments:
        total = Moments(self._centred)
        total.n = self.n + other.n
        for name in ("_xx", "_tx", "_x", "_t", "_tt"):
            a, b = getattr(self, name), getattr(other, name)
            setattr(total, name, a if b is None else b if a is None else a + b)
        return total

    @property
    def mean_x(self) -> Array:
        """(g, p)."""
        assert self._x is not None
        return np.asarray(self._x / self.n) if self._centred else np.zeros_like(self._x)

    @property
    def mean_t(self) -> Array:
        """(g, o)."""
        assert self._t is not None
        return np.asarray(self._t / self.n) if self._centred else np.zeros_like(self._t)

    @property
    def h(self) -> Array:
        """Covariance of ``x``, (g, p, p)."""
        assert self._xx is not None
        m = self.mean_x
        return np.asarray(self._xx / self.n - m[:, :, None] * m[:, None, :])

    @property
    def c(self) -> Array:
        """Covariance of ``t`` with ``x``, (g, o, p)."""
        assert self._tx is not None
        return np.asarray(self._tx / self.n - self.mean_t[:, :, None] * self.mean_x[:, None, :])

    def against(self, x: Array, t: Array) -> tuple[Array, Array]:
        """Covariance (g, o, p) and mean (g, o) of targets ``t`` (g, n, o) for the rows ``x`` that were added."""
        t = t.astype(np.float32, copy=False)
        mean_t = t.mean(1, dtype=np.float64) if self._centred else np.zeros((len(t), t.shape[2]))
        tx = np.matmul(t.transpose(0, 2, 1), x).astype(np.float64)
        return np.asarray(tx / self.n - mean_t[:, :, None] * self.mean_x[:, None, :]), mean_t
