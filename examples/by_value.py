"""Which tensor of a framework is which initializer of a file made of it: told by values, whatever the names."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

State = Mapping[str, np.ndarray]
# by tensor: the initializer, and the order of axes in which the tensor is the initializer
Pairs = dict[str, tuple[str, tuple[int, ...]]]


def pair(state: State, path: Path) -> Pairs:
    """An initializer for every tensor; raises ValueError if there is none.

    Of several that are equal the first free one is taken, so compare what comes of it.
    """
    free, result = _stored(path), Pairs()
    for name, value in state.items():
        found = ((n, axes) for n, array in free.items() if (axes := _turned(value, array)) is not None)
        match = next(found, None)
        if match is None:
            raise ValueError(f"'{name}' is none of the tensors in {path}")
        result[name] = match
        del free[match[0]]
    return result


def read(pairs: Pairs, path: Path) -> dict[str, np.ndarray]:
    """The tensors as they are in another file with the same names, a pruned one."""
    stored = _stored(path)
    return {n: np.ascontiguousarray(stored[there].transpose(np.argsort(axes))) for n, (there, axes) in pairs.items()}


def _stored(path: Path) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


def _turned(value: np.ndarray, array: np.ndarray) -> tuple[int, ...] | None:
    if sorted(value.shape) != sorted(array.shape) or value.dtype != array.dtype:
        return None
    orders = itertools.permutations(range(value.ndim))
    return next((o for o in orders if np.array_equal(value.transpose(o), array)), None)
