"""Weights that an exporter multiplied with the scales of a normalisation: nothing of the framework equals them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from spa_cli.errors import UsageError
from spa_cli.graph.model import Array
from spa_cli.weights.layout import orders, squeezed
from spa_cli.weights.tensors import epsilon, is_constant


def refuse_folded(name: str, array: Array, tensors: Mapping[str, Array], keys: Iterable[str]) -> None:
    """Raise UsageError if the rows of an initializer are those of a tensor, each times a number of its own."""
    key = next((k for k in keys if is_scaled(array, tensors[k])), None)
    if key is not None:
        raise UsageError(
            f"'{name}' of the model looks like '{key}' with a normalisation folded in; export without constant folding "
            "or optimisation (PyTorch: training=TrainingMode.PRESERVE, do_constant_folding=False; with dynamo=True: "
            "optimize=False) and make the plan on that"
        )


def is_scaled(array: Array, tensor: Array) -> bool:
    """Whether ``array`` is ``tensor``, its axes in some order, times numbers along one axis that are not all alike."""
    sizes = sorted(array.shape[a] for a in squeezed(array.shape))
    if sizes != sorted(tensor.shape[a] for a in squeezed(tensor.shape)) or len(sizes) < 2:
        return False
    errors = epsilon(array.dtype), epsilon(tensor.dtype)
    if errors[0] is None or errors[1] is None or is_constant(array) or is_constant(tensor):
        return False
    error = max(errors[0], errors[1])
    mine = array.reshape([d for d in array.shape if d != 1])
    return any(
        _parallel(np.moveaxis(mine, a, 0), np.moveaxis(theirs, a, 0), error)
        for theirs in _turned(tensor, mine.shape)
        for a in range(mine.ndim)
    )


def _turned(tensor: Array, shape: tuple[int, ...]) -> Iterator[Array]:
    for order in orders(tensor.shape, shape):
        turned = tensor.transpose(order)
        turned = turned.reshape([d for d in turned.shape if d != 1])
        if turned.shape == shape:
            yield turned


def _parallel(a: Array, b: Array, error: float) -> bool:
    """Whether rows are parallel, to rounding (a step of training is not), with different factors."""
    if a[0].size < 2 or len(a) * (a[0].size - 1) < 4:
        return False
    # most tensors are told apart by their first rows
    for rows in (4, len(a)):
        x, y = (v[:rows].reshape(min(rows, len(v)), -1).astype(np.float64) for v in (a, b))
        xx, yy, xy = (x * x).sum(1), (y * y).sum(1), (x * y).sum(1)
        # a factor of zero leaves nothing of a row
        whole = xx > 0
        if not whole.any() or (yy[whole] == 0).any():
            return False
        x, y = x[whole], y[whole]
        factors = xy[whole] / yy[whole]
        off = np.sqrt(((x - factors[:, None] * y) ** 2).sum(1) / xx[whole])
        if off.max() > 2 * error:
            return False
    spread = float(np.ptp(np.abs(factors)) / np.abs(factors).max())
    return spread > max(1e-3, 8 * error)
