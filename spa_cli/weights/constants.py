"""Initializers whose values are all the same (scales of ones, biases of zeros): told by what lies beside them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from spa_cli.errors import UsageError
from spa_cli.graph.model import Array, Graph, Node
from spa_cli.weights.cut import Cutter
from spa_cli.weights.layout import squeezed
from spa_cli.weights.match import Matches
from spa_cli.weights.missing import several
from spa_cli.weights.names import module
from spa_cli.weights.partners import partners
from spa_cli.weights.tensors import Weights, is_constant, is_number

Line = tuple[bool, ...]


@dataclass(frozen=True)
class _Kind:
    """Tensors of one line that nothing but their place tells apart."""

    size: int
    value: float


def settle(graph: Graph, matches: Matches, cutter: Cutter, reference: Weights) -> None:
    """Find, and cut, the tensors of the constant initializers that the plan cuts.

    First where the graph leads: the weights an initializer is used with lie in a module that has one tensor of that
    value and size. Then by what is cut beside it in the weights. Raises UsageError where that is not unambiguous.
    One that several nodes share, because an exporter found it equal to others, is more than the tensor of its name.
    """
    free = _Free(reference, matches)
    names = _constants(graph, matches)
    touched = [n for n in names if n in cutter.entries]
    # a tensor may be split over several initializers: what they say is put together
    said: dict[str, list[tuple[str, Array, Array]]] = defaultdict(list)
    for name in touched:
        for key, index in _beside(graph, matches, free, name):
            lost = cutter.gone(name, graph.shape(name)).reshape(-1)
            said[key].append((name, index >= 0, np.where(index >= 0, lost[index], False)))
    for key, claims in said.items():
        free.take(key)
        lost = np.logical_or.reduce([c[2] for c in claims])
        if any((told & (lost != own)).any() for _, told, own in claims):
            raise UsageError(
                f"'{key}' is constant and could be {' or '.join(repr(c[0]) for c in claims)}, which the plan cuts "
                "differently; give weights that were trained"
            )
        for name, *_ in claims:
            cutter.cut_sibling(key, lost, name)
    kinds = {k for n in touched if (k := _kind(graph.array(n))) is not None}
    for kind in sorted(kinds, key=lambda k: (k.size, k.value)):
        _by_cut([n for n in names if _kind(graph.array(n)) == kind], kind, graph, matches, cutter, free, reference)


class _Free:
    """Constant tensors of one line that no initializer has by name or value."""

    def __init__(self, reference: Weights, matches: Matches) -> None:
        taken = matches.taken
        self._keys: dict[_Kind, dict[str, None]] = defaultdict(dict)
        for key, tensor in reference.tensors.items():
            if key not in taken and is_number(tensor.dtype) and (kind := _kind(tensor)) is not None:
                self._keys[kind][key] = None

    def of(self, kind: _Kind) -> list[str]:
        return list(self._keys.get(kind, ()))

    def take(self, key: str) -> None:
        for keys in self._keys.values():
            keys.pop(key, None)


def _kind(array: Array) -> _Kind | None:
    if len(squeezed(array.shape)) != 1 or not is_constant(array):
        return None
    return _Kind(array.size, float(array.reshape(-1)[0]))


def _constants(graph: Graph, matches: Matches) -> list[str]:
    """All that the plan cuts or leaves and that names don't tell, or not completely."""
    return [
        n
        for n in graph.weights()
        if (n not in matches.claimed or len(graph.consumers.get(n, [])) > 1) and _kind(graph.array(n)) is not None
    ]


def _beside(graph: Graph, matches: Matches, free: _Free, name: str) -> Iterator[tuple[str, Array]]:
    """Tensors in the modules of the weights that an initializer is used with, and which of its elements lie where."""
    array = graph.array(name)
    value = float(array.reshape(-1)[0])
    for node in graph.consumers.get(name, []):
        for weight, axis in partners(graph, matches.parts, node, name, array.size):
            for part in matches.parts[weight]:
                for index in part.positions(axis).values():
                    keys = [k for k in free.of(_Kind(len(index), value)) if module(k) == module(part.key)]
                    # a norm's scale and variance may both be ones, and lose the same
                    if 0 < len(keys) <= _alike(graph, node, array):
                        yield from ((k, index) for k in keys)


def _alike(graph: Graph, node: Node, array: Array) -> int:
    inputs = [n for n in dict.fromkeys(node.inputs) if n in graph.parameters]
    return sum(_kind(graph.array(n)) == _kind(array) for n in inputs)


def _by_cut(
    names: list[str],
    kind: _Kind,
    graph: Graph,
    matches: Matches,
    cutter: Cutter,
    free: _Free,
    reference: Weights,
) -> None:
    """What may go is what initializers of this kind lose; the axes of this size nearby say which of it."""
    losses: dict[Line, list[str]] = defaultdict(list)
    for name in names:
        losses[tuple(cutter.gone(name, graph.shape(name)).reshape(-1).tolist())].append(name)
    if not any(n in cutter.entries and _unsettled(n, graph, matches, cutter) for n in names):
        return
    doubtful: list[str] = []
    alone: list[str] = []
    for key in free.of(kind):
        near = _near(key, kind.size, matches, cutter, reference)
        fits = [line for line in losses if line in near]
        if len(fits) == 1:
            free.take(key)
            for name in losses[fits[0]] if any(fits[0]) else ():
                cutter.cut_sibling(key, np.array(fits[0]), name)
        elif fits:
            doubtful.append(key)
        elif not near:
            alone.append(key)
    uses = sum(len(graph.consumers.get(n, [])) for n in names)
    if len(losses) == 1 and alone and len(alone) <= uses:
        for key in alone:
            for name in names:
                cutter.cut_sibling(key, np.array(next(iter(losses))), name)
        alone = []
    left = [n for n in names if n in cutter.entries and _unsettled(n, graph, matches, cutter)]
    if left and (doubtful or alone):
        raise UsageError(several(left[0], graph.array(left[0]), [*doubtful, *alone]))


def _unsettled(name: str, graph: Graph, matches: Matches, cutter: Cutter) -> bool:
    """Whether fewer tensors were found than nodes use the initializer."""
    return len(cutter.keys_of().get(name, [])) < max(1, len(graph.consumers.get(name, [])))


def _near(key: str, size: int, matches: Matches, cutter: Cutter, reference: Weights) -> set[Line]:
    """What the axes of this size lose in the nearest module around a tensor that holds any that were found."""
    place = module(key)
    while place:
        found = set[Line]()
        for other in matches.keys:
            if not other.startswith(place):
                continue
            shape = reference.tensors[other].shape
            for axis in (a for a, d in enumerate(shape) if d == size):
                lost = cutter.lost.get(other, {}).get(axis)
                if lost is not None or other not in cutter.new:
                    found.add(tuple(lost.tolist()) if lost is not None else (False,) * size)
        if found:
            return found
        place = module(place[:-1])
    return set()
