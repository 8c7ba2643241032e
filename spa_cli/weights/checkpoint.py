"""A state dict inside a checkpoint: finding it, putting another in its place, and what lies beside it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from spa_cli.errors import UsageError

# what the state dict of a model is usually called inside a checkpoint, the surest first
_NAMES = ("state_dict", "model_state_dict", "model_state", "model", "module", "net", "network", "params", "weights")


def find(value: Any, tensor: type[Any], depth: int = 0) -> tuple[str, ...] | None:
    """The keys that lead to the state dict in ``value`` (none if it is one); ``None`` if it can't be told."""
    if not isinstance(value, Mapping) or depth > 2 or not all(isinstance(k, str) for k in value):
        return None
    nested = {k: find(v, tensor, depth + 1) for k, v in value.items() if not k.startswith("optim")}
    nested = {k: place for k, place in nested.items() if place is not None}
    best = next((k for k in _NAMES if k in nested), None)
    if best is None and any(isinstance(v, tensor) for v in value.values()):
        return ()
    if best is None and len(nested) == 1:
        best = next(iter(nested))
    return None if best is None else (best, *(nested[best] or ()))


def inside(checkpoint: Any, place: tuple[str, ...]) -> Any:
    """What lies at a place."""
    for name in place:
        checkpoint = checkpoint[name]
    return checkpoint


def put(checkpoint: Any, place: tuple[str, ...], value: Any) -> Any:
    """A copy of the checkpoint (as shallow as can be) with ``value`` at a place."""
    if not place:
        return value
    outer = copy.copy(checkpoint)
    outer[place[0]] = put(checkpoint[place[0]], place[1:], value)
    return outer


def stale(checkpoint: Any, place: tuple[str, ...], tensor: type[Any]) -> list[str]:
    """Warnings about what else holds tensors, of the old shapes then: optimisers, averages."""
    beside = [k for k, v in checkpoint.items() if k != place[0] and _holds(v, tensor)] if place else []
    return [f"'{name}' was copied as it is and does not fit the smaller tensors" for name in beside]


def _holds(value: Any, tensor: type[Any]) -> bool:
    if isinstance(value, Mapping):
        return any(_holds(v, tensor) for v in value.values())
    return isinstance(value, tensor) and value.ndim > 0


def left_out(checkpoint: Any, place: tuple[str, ...], taken: Mapping[str, Any], tensor: type[Any]) -> list[str]:
    """Names of entries that a file of plain tensors has no place for.

    Raises UsageError if one of them is a tensor (sparse, quantised) that numpy can't hold.
    """
    state = inside(checkpoint, place)
    rest = [str(k) for k in state if k not in taken]
    for key in rest:
        if isinstance(state[key], tensor):
            raise UsageError(f"'{key}' is a sparse or quantised tensor; write a .pt file, other formats can't hold it")
    return rest + ([str(k) for k in checkpoint if k != place[0]] if place else [])
