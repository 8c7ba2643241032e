"""Ranking a group whose readers are more than fits: its channels are ordered by what each costs alone.

Greedy OBS (``saliency``) keeps ``V`` and ``W`` of all readers up to date. Here every reader is looked at twice and
forgotten again. First each channel gets its saliency in the whole layer, ``tr(W_c [V_cc]^-1 W_c^T)``, summed over
readers, which orders them. Then the errors of removing them in that order are worked out, with all that a refit makes
up for: let ``V_SS = C C^T`` with the coordinates that go, in their order. Removing the first ones, ``F``, costs
``tr(W_F [V_FF]^-1 W_F^T)``, and ``V_FF`` has the first rows of ``C`` for its own factor: each coordinate adds the
squared length of its row of ``C^-1 W_S^T``. Of ``H = U U^T`` in that order, ``U`` an upper triangle, ``C^-1`` is
``U^T``: where all coordinates go, which is the rule, nothing has to be inverted. ``U`` is the Cholesky factor of ``H``
in the opposite order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from spa_cli.channels.groups import Group
from spa_cli.channels.ranking import Ranking
from spa_cli.graph.model import Array
from spa_cli.obspa.cholesky import factored, forward, in_parts, inverted, product
from spa_cli.obspa.consumers import Reader
from spa_cli.obspa.moments import damped
from spa_cli.obspa.saliency import DAMPING, convex, inverse_root
from spa_cli.obspa.shrinkage import shrunk

Order = NDArray[np.int64]
# inputs of a layer beyond which its Hessian is factored in single precision
_SINGLE = 4096


def at_once(group: Group, readers: Callable[[], Iterable[list[list[Reader]]]]) -> tuple[Ranking, int] | None:
    """The ranking and how many readers there are; ``None`` where a block has none. ``readers``: layer by layer."""
    blocks = max(1, len(group.blocks))
    scores, seen, roots = np.zeros((blocks, group.channels)), np.zeros(blocks, np.int64), _Roots()
    for layer in readers():
        for block, own in enumerate(layer):
            for reader in own:
                scores[block] += _alone(reader, roots)
                seen[block] += 1
    if not seen.all():
        return None
    order: Order = np.argsort(scores, axis=1, kind="stable")
    errors = np.zeros(group.channels)
    for layer in readers():
        for block, own in enumerate(layer):
            for reader in own:
                errors += reader.again * _in_turn(reader, order[block], roots)
    return Ranking(order if len(group.blocks) else order[0], convex(errors)), int(seen.sum())


class _Roots:
    """``R`` with ``R^T R = V``, of the layer that was asked for last: its blocks have it in common.

    Of wide layers in single precision, which orders channels as well.
    """

    def __init__(self) -> None:
        self._of: tuple[str, int] | None = None
        self._root: Array = np.zeros(0)

    def __call__(self, reader: Reader) -> Array:
        if self._of != reader.h_of:
            self._of, self._root = None, np.zeros(0)
            self._root, self._of = inverted(factored(_believed(reader))), reader.h_of
        return self._root


def _believed(reader: Reader) -> Array:
    kind = np.float32 if len(reader.h) > _SINGLE else np.float64
    return np.asarray(damped(shrunk(reader.h, reader.rows).astype(kind, copy=False)[None], DAMPING)[0])


def _weights(reader: Reader) -> Array:
    return reader.w if reader.felt is None else reader.felt


def _alone(reader: Reader, roots: _Roots) -> Array:
    """What removing each channel costs as long as all others are there, (c,)."""
    columns = _weights(reader).T[reader.places]  # (c, s, o)
    if reader.unfit:
        second = reader.second[reader.places[:, :, None], reader.places[:, None, :]]
        return np.asarray(np.einsum("cso,cst,cto->c", columns, second, columns, optimize=True) * reader.weight)
    root = roots(reader)
    if columns.shape[1] == 1:
        diagonal = np.einsum("pc,pc->c", root, root)[reader.places[:, 0]]
        return np.asarray(np.square(columns).sum((1, 2)) / diagonal * reader.weight)
    blocks = (root[:, own] for own in reader.places)
    halves = (inverse_root(own.T @ own) @ w for own, w in zip(blocks, columns, strict=True))
    return np.array([np.square(half).sum() for half in halves]) * reader.weight


def _in_turn(reader: Reader, order: Order, roots: _Roots) -> Array:
    """What removing the channels in this order adds to the error, one by one, (c,)."""
    gone = reader.places[order]
    at = gone.ravel()
    w = _weights(reader)[:, at]
    if reader.unfit:
        both = reader.second[np.ix_(at, at)] * (w.T @ w)
        lost = np.tril(both, -1).sum(1) * 2 + np.diagonal(both)
    elif len(at) == len(reader.h):
        back = at[::-1]
        lost = _lengths(factored(_believed(reader)[np.ix_(back, back)]), w.T[::-1])[::-1]
    else:
        own = roots(reader)[:, at]
        lost = np.square(forward(factored(product(own.T, own)), w)).sum(0)
    return np.asarray(lost.reshape(gone.shape).sum(1) * reader.weight)


def _lengths(lower: Array, right: Array) -> Array:
    """Squared lengths of the rows of ``L^T B`` for ``B`` (p, n), (p,)."""
    found = np.empty(len(lower))

    def measure(rows: slice) -> None:
        found[rows] = np.square(lower[rows.start :, rows].T @ right[rows.start :]).sum(1)

    in_parts(measure, 0, len(lower))
    return found
