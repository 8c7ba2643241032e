"""A model run step after step, its states fed back: what it takes next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spa_cli.graph.model import FLOAT_TYPES, Graph
from spa_cli.graph.states import Pair
from spa_cli.runtime.caches import masks_all, new_length, pasts
from spa_cli.runtime.dimensions import input_shapes
from spa_cli.runtime.follows import follows
from spa_cli.runtime.inputs import input_dims
from spa_cli.runtime.session import Feeds

Sizes = dict[str, tuple[int, ...]]


def next_feeds(graph: Graph, pairs: Sequence[Pair], feeds: Feeds, outputs: Mapping[str, Any]) -> Feeds:
    """What comes after ``feeds``, of which a model gave ``outputs``: its states, and other values of what is new.

    Where a cache grows, one token more is new, and masks and positions grow with it.
    """
    found = {name: np.roll(value, 1, -1) if _is_new(graph, name, value) else value for name, value in feeds.items()}
    found |= {pair.input: outputs[pair.output] for pair in pairs if pair.output in outputs and pair.input in feeds}
    if not pasts(graph):
        return found
    shapes = _grown(graph, feeds, {pair.input: np.shape(found[pair.input]) for pair in pairs if pair.input in feeds})
    for name, size in shapes.items():
        if name not in found or np.shape(found[name]) == size:
            continue
        if masks_all(name):
            found[name] = np.ones(size, feeds[name].dtype)
        elif len(size) == np.ndim(found[name]) and all(a <= b for a, b in zip(size, found[name].shape, strict=True)):
            found[name] = found[name][tuple(map(slice, size))]
    for name, value in feeds.items():
        if (known := follows(graph, name, shapes)) is not None:
            # of what all samples share a run may be given one number each
            size = np.shape(value) if len(shapes[name]) < np.ndim(value) else shapes[name]
            found[name] = np.broadcast_to(known.value, size).astype(value.dtype)
    return found


def _grown(graph: Graph, feeds: Feeds, states: Sizes) -> Sizes:
    """The shapes of all inputs once the states are so large, with one new token where that is free."""
    sizes = {name: np.shape(value) for name, value in feeds.items()}
    new = new_length(graph, sizes)
    given = dict(states)
    for name, size in sizes.items():
        dims = input_dims(graph.inputs[name]) or []
        free = len(dims) > 1 and isinstance(dims[1], str)
        if name not in states and free and size[1] == new and not masks_all(name):
            given[name] = (size[0], 1, *size[2:])
    return next(input_shapes(graph, given))


def _is_new(graph: Graph, name: str, value: Any) -> bool:
    return name in graph.inputs and graph.inputs[name].type.tensor_type.elem_type in FLOAT_TYPES and np.ndim(value) > 0
