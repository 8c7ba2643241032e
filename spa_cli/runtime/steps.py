"""A model run step after step, its states fed back: what it takes next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spa_cli.graph.model import FLOAT_TYPES, Graph
from spa_cli.graph.states import Pair
from spa_cli.runtime.caches import masks_all, new_length, past_length, pasts
from spa_cli.runtime.follows import follows
from spa_cli.runtime.session import Feeds


def next_feeds(graph: Graph, pairs: Sequence[Pair], feeds: Feeds, outputs: Mapping[str, Any]) -> Feeds:
    """What comes after ``feeds``, of which a model gave ``outputs``: its states, and other values of what is new.

    Where a cache grows, masks and positions grow with it.
    """
    found = {name: np.roll(value, 1, -1) if _is_new(graph, name, value) else value for name, value in feeds.items()}
    found |= {pair.input: outputs[pair.output] for pair in pairs if pair.output in outputs and pair.input in feeds}
    shapes = {name: np.shape(value) for name, value in found.items()}
    before, after = (past_length(graph, {n: np.shape(v) for n, v in given.items()}) for given in (feeds, found))
    if not pasts(graph) or before is None or after is None:
        return found
    new = new_length(graph, shapes)
    for name, value in feeds.items():
        if new is not None and masks_all(name) and np.ndim(value) == 2 and value.shape[1] == before + new:
            found[name] = np.pad(value, ((0, 0), (after - before, 0)), constant_values=1)
    shapes = {name: np.shape(value) for name, value in found.items()}
    for name, value in feeds.items():
        if (known := follows(graph, name, shapes)) is not None:
            found[name] = np.broadcast_to(known.value, np.shape(value)).astype(value.dtype)
    return found


def _is_new(graph: Graph, name: str, value: Any) -> bool:
    return name in graph.inputs and graph.inputs[name].type.tensor_type.elem_type in FLOAT_TYPES and np.ndim(value) > 0
