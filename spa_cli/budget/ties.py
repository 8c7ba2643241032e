"""Groups that play the same part in repeated blocks: where asked for, all of them keep the same count."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from spa_cli.channels.groups import Group, Grouping
from spa_cli.graph.model import Graph

Value = TypeVar("Value")


class Ties:
    """Groups (by index) of which as many channels go of one as of the others; each is known by the first of them."""

    def __init__(self, tied: Iterable[Sequence[int]] = ()) -> None:
        self._tied = {i: tuple(several) for several in tied for i in several}

    def of(self, index: int) -> tuple[int, ...]:
        """All that go with a group, itself among them."""
        return self._tied.get(index, (index,))

    def first(self, index: int) -> int:
        """The one that stands for all."""
        return self.of(index)[0]

    def all(self, each: Mapping[int, Value]) -> dict[int, Value]:
        """The same said of every group that goes with those of which it is said."""
        return {member: value for index, value in each.items() for member in self.of(index)}

    def spread(self, gone: Sequence[int]) -> Sequence[int]:
        """(g,) with what the first of every tie says at all of its places."""
        return [gone[self.first(i)] for i in range(len(gone))] if self._tied else gone

    def __len__(self) -> int:
        return len({several[0] for several in self._tied.values()})


def ties_of(grouping: Grouping, graph: Graph) -> Ties:
    """The groups whose matrices have the same shapes and lose the same axes of them, wherever they stand.

    Vectors say nothing: an additional bias or scale makes no other part of a layer.
    """
    found = defaultdict[Hashable, list[int]](list)
    for index, group in enumerate(grouping.groups):
        found[_part(group, graph)].append(index)
    return Ties(several for several in found.values() if len(several) > 1)


def _part(group: Group, graph: Graph) -> Hashable:
    places = [(graph.shape(m.tensor), m.axis, m.rows, m.role) for m in group.members]
    matrices = sorted(place for place in places if len(place[0]) > 1)
    return group.channels, group.blocks.shape, tuple(matrices or sorted(places))
