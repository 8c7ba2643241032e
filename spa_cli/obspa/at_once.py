"""Ranking a group whose readers are more than fits: its channels are ordered by what each costs alone.

Greedy OBS (``saliency``) keeps ``V`` and ``W`` of all readers up to date. Here every reader is looked at twice and
forgotten again. First each channel gets its saliency in the whole layer, ``tr(W_c [V_cc]^-1 W_c^T)``, summed over
readers, which orders them. Then the errors of removing them in that order are worked out, with all that a refit makes
up for: let ``H + lambda I = L L^T`` with the coordinates that stay longest first. Removing the last ones, ``S``,
costs ``tr(W_S [V_SS]^-1 W_S^T)``, the inverse is the Schur complement ``L_SS L_SS^T``, and so each coordinate adds
the squared length of its column of ``W L``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from spa_cli.channels.groups import Group
from spa_cli.channels.ranking import Ranking
from spa_cli.graph.model import Array
from spa_cli.obspa.cholesky import factored, inverted
from spa_cli.obspa.consumers import Reader
from spa_cli.obspa.saliency import DAMPING, convex, inverse_root
from spa_cli.obspa.shrinkage import shrunk

Order = NDArray[np.int64]


def at_once(group: Group, readers: Callable[[], Iterable[list[list[Reader]]]]) -> tuple[Ranking, int] | None:
    """The ranking and how many readers there are; ``None`` where a block has none. ``readers``: layer by layer."""
    blocks = max(1, len(group.blocks))
    scores, seen = np.zeros((blocks, group.channels)), np.zeros(blocks, np.int64)
    for layer in readers():
        for block, own in enumerate(layer):
            for reader in own:
                scores[block] += _alone(reader)
                seen[block] += 1
    if not seen.all():
        return None
    order: Order = np.argsort(scores, axis=1, kind="stable")
    errors = np.zeros(group.channels)
    for layer in readers():
        for block, own in enumerate(layer):
            for reader in own:
                errors += _in_turn(reader, order[block])
    return Ranking(order if len(group.blocks) else order[0], convex(errors)), int(seen.sum())


def _weights(reader: Reader) -> Array:
    return reader.w if reader.felt is None else reader.felt


def _alone(reader: Reader) -> Array:
    """What removing each channel costs as long as all others are there, (c,)."""
    columns = _weights(reader).T[reader.places]  # (c, s, o)
    if reader.unfit:
        second = reader.second[reader.places[:, :, None], reader.places[:, None, :]]
        return np.asarray(np.einsum("cso,cst,cto->c", columns, second, columns, optimize=True) * reader.weight)
    root = inverted(factored(_damped(reader)))
    gone = root[:, reader.places.ravel()].reshape(len(root), *reader.places.shape)
    blocks = np.einsum("pcs,pct->cst", gone, gone, optimize=True)
    if blocks.shape[1] == 1:
        return np.asarray(np.square(columns).sum((1, 2)) / blocks[:, 0, 0] * reader.weight)
    halves = np.stack([inverse_root(block) for block in blocks]) @ columns
    return np.asarray(np.square(halves).sum((1, 2)) * reader.weight)


def _in_turn(reader: Reader, order: Order) -> Array:
    """What removing the channels in this order adds to the error, one by one, (c,)."""
    gone = reader.places[order]  # (c, s)
    w = _weights(reader)
    if reader.unfit:
        at = gone.ravel()
        both = reader.second[np.ix_(at, at)] * (w[:, at].T @ w[:, at])
        lines = np.tril(both, -1).sum(1) * 2 + np.diagonal(both)
        return np.asarray(lines.reshape(gone.shape).sum(1) * reader.weight)
    stays = np.setdiff1d(np.arange(w.shape[1]), gone)
    turn = np.concatenate([stays, gone.ravel()[::-1]])
    lower = factored(_damped(reader)[np.ix_(turn, turn)])
    lost = np.square(w[:, turn] @ lower).sum(0)[len(stays) :][::-1]
    return np.asarray(lost.reshape(gone.shape).sum(1) * reader.weight)


def _damped(reader: Reader) -> Array:
    h = shrunk(reader.h, reader.rows)
    h[np.diag_indices(len(h))] += DAMPING * max(float(np.trace(h)) / len(h), 1e-12)
    return h
