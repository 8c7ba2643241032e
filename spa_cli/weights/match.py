"""Which tensors of a framework an initializer is made of."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from spa_cli.errors import UsageError
from spa_cli.graph.model import Array, Graph
from spa_cli.weights.folded import refuse_folded
from spa_cli.weights.layout import Part, by_shape, whole
from spa_cli.weights.missing import unmatched
from spa_cli.weights.names import by_name
from spa_cli.weights.tensors import Weights, bits, is_constant, is_number
from spa_cli.weights.values import ValueIndex, fingerprint

NAME, VALUE, SIBLING = "name", "value", "sibling"


@dataclass(frozen=True)
class Matches:
    """``parts`` of every initializer that was found, and ``how``; ``constant`` are those that nothing tells apart.

    ``claimed`` are the keys that belong to initializers by name, whether the plan cuts them or not. ``retrained``:
    values under the same names differ.
    """

    parts: dict[str, list[Part]] = field(default_factory=dict)
    how: dict[str, str] = field(default_factory=dict)
    constant: list[str] = field(default_factory=list)
    claimed: dict[str, str] = field(default_factory=dict)
    retrained: list[str] = field(default_factory=list)

    def add(self, name: str, parts: list[Part], how: str) -> None:
        """An initializer was found."""
        self.parts.setdefault(name, []).extend(parts)
        self.how.setdefault(name, how)

    @property
    def keys(self) -> set[str]:
        """Keys that some initializer is made of."""
        return {p.key for parts in self.parts.values() for p in parts}

    @property
    def taken(self) -> set[str]:
        """Keys that can't be anything else."""
        return self.keys | set(self.claimed.values())


def match_names(names: Iterable[str], weights: Weights) -> Matches:
    """By names alone; raises UsageError for a name that fits nothing, or several keys."""
    names = list(names)
    found, result = by_name(names, weights.tensors), Matches()
    for name in names:
        key = next(iter(_one(name, found[name])), None)
        if key is None:
            raise unmatched(name, None, weights, "give the model too, to match by values")
        shape = weights.tensors[key].shape
        result.add(name, [whole(key, shape, shape, tuple(range(len(shape))))], NAME)
    return result


def match_model(cut: Mapping[str, set[int]], graph: Graph, weights: Weights) -> Matches:
    """By the names in a model, and by its values where they say more.

    ``cut`` are the initializers of the plan and their axes that lose anything. Raises UsageError for one whose name
    fits several keys and whose values none, whose shape is not that of its key, or into which a normalisation is
    folded. What was not found at all is in none of the fields of the result.
    """
    values = ValueIndex(weights.tensors)
    found = by_name(graph.parameters, weights.tensors)
    result = Matches(claimed={n: keys[0] for n, keys in found.items() if len(keys) == 1})
    for name, axes in cut.items():
        array = graph.array(name)
        parts, how = _by_value(name, array, found[name], values, set(result.claimed.values()))
        if parts:
            result.add(name, parts, how)
            continue
        key = next(iter(_one(name, found[name])), None)
        if key is None and is_constant(array):
            result.constant.append(name)
        elif key is not None:
            part = by_shape(key, array.shape, weights.tensors[key].shape, axes)
            if part is None:
                raise UsageError(
                    f"'{name}' has shape {list(array.shape)}, '{key}' of '{weights.name}' has shape "
                    f"{list(weights.tensors[key].shape)}, which doesn't tell what its axes are; "
                    "give the weights the model was exported from, with --exported-with if they were retrained"
                )
            refuse_folded(name, array, weights.tensors, [key])
            if not is_constant(array):
                result.retrained.append(name)
            result.add(name, [part], NAME)
        elif not (more := values.assembled(array)):
            refuse_folded(name, array, weights.tensors, list(values.tensors))
        else:
            result.add(name, more, VALUE)
    _refuse_twins(result, graph, values)
    return result


def _by_value(
    name: str, array: Array, named: list[str], values: ValueIndex, claimed: Collection[str]
) -> tuple[list[Part], str]:
    """Tensors that equal the initializer as they are, or turned: the one of its name, or else all that are free."""
    for key in named:
        if part := values.aligned(array, key):
            return [part], NAME
    if not is_number(array.dtype) or is_constant(array):
        return [], VALUE
    keys = [k for k in values.equal(array) if k not in claimed]
    return [part for k in keys if (part := values.aligned(array, k))], VALUE


def _one(name: str, keys: list[str]) -> list[str]:
    if len(keys) > 1:
        raise UsageError(
            f"'{name}' could be {' or '.join(map(repr, keys[:3]))}; give the model and the weights it was exported "
            "from (--exported-with), to match by values"
        )
    return keys


def _refuse_twins(matches: Matches, graph: Graph, values: ValueIndex) -> None:
    """An initializer the plan leaves whole, with the values of one it cuts: which tensor is whose can't be told."""
    by_value = [n for n, how in matches.how.items() if how == VALUE]
    cut = {p.key for n in by_value for p in matches.parts[n]}
    marks = {fingerprint(bits(graph.array(n))): n for n in by_value}
    for name in graph.weights() if marks else []:
        array = graph.array(name)
        twin = marks.get(fingerprint(bits(array))) if name not in matches.parts else None
        key = next((k for k in values.equal(array) if k in cut and values.aligned(array, k)), None) if twin else None
        if key is not None:
            raise UsageError(
                f"'{name}' and '{twin}' of the model hold the same values ('{key}'), and the plan cuts only one of "
                "them; give weights that were trained"
            )
