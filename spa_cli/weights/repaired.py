"""Values of a pruned model, which its repair changed, put where a framework has them: before the cut, at what stays."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from spa_cli.errors import UsageError
from spa_cli.graph.formulas import made_by_formula
from spa_cli.graph.model import Array, Graph
from spa_cli.surgery.remaining import gather
from spa_cli.weights.layout import Part
from spa_cli.weights.match import Matches, match_model
from spa_cli.weights.missing import several
from spa_cli.weights.tensors import Weights, bits, is_constant, is_float, is_number

_RIGHT = "give what 'spa prune' wrote beside this plan, without --tidy"


@dataclass(frozen=True, eq=False)
class Repaired:
    """``weights``: all of them, with the new values where the plan leaves something; ``keys``: those that have some."""

    weights: Weights
    keys: tuple[str, ...]


def put(entries: Mapping[str, Mapping[str, Any]], graph: Graph, small: Graph, weights: Weights, name: str) -> Repaired:
    """The weights that ``graph`` was exported from, with what ``small`` (called ``name``) has instead.

    Cut by the plan of these ``entries`` they are ``small`` in the framework's tensors. Raises UsageError where a value
    that the repair changed is none of the framework's for certain, or ``small`` was not made by this plan.
    """
    changed = _changed(entries, graph, small, name)
    matches = match_model({n: {int(a) for a in entries.get(n, {})} for n in changed}, graph, weights)
    if matches.retrained:
        raise UsageError(
            f"'{matches.retrained[0]}' has other values in '{weights.name}' than in the model, and --repaired would "
            "put those of the model's repair in their place; give the weights that the model was exported from"
        )
    _require_all(changed, matches, graph, weights)
    claims: dict[str, list[tuple[str, Part]]] = defaultdict(list)
    for owner, parts in matches.parts.items():
        for part in parts:
            claims[part.key].append((owner, part))
    put_in = {key: _with(key, own, changed, weights) for key, own in claims.items()}
    new = {key: t for key, t in put_in.items() if not np.array_equal(bits(t), bits(weights.tensors[key]))}
    for key, twin in _twins(weights, new, matches):
        new[twin] = new[key]
    return Repaired(weights.with_cut(new), tuple(sorted(new)))


def _changed(
    entries: Mapping[str, Mapping[str, Any]], graph: Graph, small: Graph, name: str
) -> dict[str, tuple[Array, Array]]:
    """By initializer that the repair changed: new values in the original's shape, and where there are any."""
    more = next((n for n in small.weights() if n not in graph.parameters and not made_by_formula(small, n)), None)
    if more is not None:
        raise UsageError(f"'{name}' has a weight '{more}' that the model has not, so it is no cut of it; {_RIGHT}")
    found = {}
    for own in graph.weights():
        array, entry = graph.array(own), dict(entries.get(own, {}))
        if own not in small.parameters:
            if not graph.readers(own):
                continue
            raise UsageError(f"'{name}' has no weight '{own}', which the model has; {_RIGHT}")
        kept, repaired = gather(array, entry), small.array(own)
        if kept.shape != repaired.shape or kept.dtype != repaired.dtype:
            raise UsageError(
                f"'{own}' of '{name}' has shape {list(repaired.shape)}, the plan leaves {list(kept.shape)}; {_RIGHT}"
            )
        if np.array_equal(bits(kept), bits(repaired)):
            continue
        # where the elements that stay lie in the original
        stays = gather(np.arange(array.size).reshape(array.shape), entry)
        values, told = array.copy().reshape(-1), np.zeros(array.size, bool)
        values[stays.reshape(-1)], told[stays.reshape(-1)] = repaired.reshape(-1), True
        found[own] = (values.reshape(array.shape), told.reshape(array.shape))
    return found


def _require_all(changed: Mapping[str, object], matches: Matches, graph: Graph, weights: Weights) -> None:
    for own in changed:
        if own in matches.parts:
            continue
        array = graph.array(own)
        alike = [k for k, t in weights.tensors.items() if t.size == array.size and is_constant(t)]
        if is_constant(array) and alike:
            raise UsageError(several(own, array, alike))
        raise UsageError(
            f"the repair changed '{own}' {list(array.shape)}, which no tensor of '{weights.name}' is; give the weights "
            "that the model was exported from, or fine-tune without --repaired"
        )


def _with(key: str, own: list[tuple[str, Part]], changed: Mapping[str, tuple[Array, Array]], weights: Weights) -> Array:
    """A tensor with what its initializers have instead, in its own type."""
    tensor = weights.tensors[key]
    result, told = tensor.copy(), np.zeros(tensor.shape, bool)
    for owner, part in own:
        values, where = changed[owner]
        here = part.project(where, False)
        new = part.project(values, values.reshape(-1)[0]).astype(tensor.dtype)
        if (told & here & (bits(result) != bits(new))).any():
            names = " and ".join(repr(n) for n in dict.fromkeys(n for n, _ in own))
            raise UsageError(
                f"the repair gave {names} different values, and all of them are '{key}' of '{weights.name}'; give an "
                "export that shares them, or fine-tune without --repaired"
            )
        result[here] = new[here]
        told |= here
    return result


def _twins(weights: Weights, new: Mapping[str, Array], matches: Matches) -> list[tuple[str, str]]:
    """Tensors that are the same as changed ones, and that no other initializer is."""
    found = []
    for key in new:
        tensor = weights.tensors[key]
        for other, twin in weights.tensors.items():
            if other in new or other in matches.taken or twin.shape != tensor.shape or twin.dtype != tensor.dtype:
                continue
            if is_number(tensor.dtype) and is_float(tensor.dtype) and np.array_equal(bits(twin), bits(tensor)):
                found.append((key, other))
    return found
