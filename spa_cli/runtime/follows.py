"""Inputs whose values follow from the shapes of the others: positions, lengths, which branch a cache takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from spa_cli.graph.model import Array, Graph
from spa_cli.runtime.caches import new_length, past_length
from spa_cli.runtime.inputs import input_dtype

_GROUPED = "GroupQueryAttention"
# which inputs of GroupQueryAttention are the last position of every sample, and how many there are at most
_LAST, _TOTAL = 5, 6


@dataclass(frozen=True, eq=False)
class Follows:
    """``value``: spreads to the shape of the input; ``about``: what it is, in words."""

    about: str
    value: Array


def follows(graph: Graph, name: str, shapes: Mapping[str, tuple[int, ...]]) -> Follows | None:
    """What the input ``name`` is where all inputs have ``shapes``; ``None`` for one that is anything else."""
    kind, shape = input_dtype(graph.inputs[name].type.tensor_type.elem_type), shapes.get(name, ())
    if not np.issubdtype(kind, np.integer) and kind is not np.bool_:
        return None
    past, new, called = past_length(graph, shapes), new_length(graph, shapes), name.lower()
    before = past or 0
    if kind is np.bool_:
        return Follows(f"{before > 0}", np.array(before > 0)) if re.search("use_cache", called) else None
    if re.search("position", called) and shape and not re.search("cache_position", called):
        about = f"positions from {before} on" if before else "positions in order"
        return Follows(about, before + np.arange(shape[-1]))
    if re.search(r"logits_to_keep", called):
        return Follows("0: all positions", np.array(0))
    if new is None:
        return None
    if _reads(graph, name, _LAST) or re.search(r"seq_?lens?_k", called):
        return Follows(f"last position {before + new - 1}", np.array(before + new - 1))
    if _reads(graph, name, _TOTAL) or re.search(r"total_seq", called):
        return Follows(f"length {before + new}", np.array(before + new))
    if re.search(r"past_seq\w*_?len|past_len", called):
        return Follows(f"length {before} of the past", np.array(before))
    return None


def _reads(graph: Graph, name: str, place: int) -> bool:
    return any(n.op == _GROUPED and n.input(place) == name for n in graph.consumers.get(name, []))
