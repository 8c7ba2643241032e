"""What goes with groups that lose all their channels: depth is width 0.

Where all channels are gone that the last layer of a branch reads, the branch gives a constant (``constants.py``). The
sum at which it meets the skip adds that constant, and whatever only led to it is dead: a residual block, the feed
forward part or the attention of a transformer layer, the gate of squeeze-and-excite (there it is a product). Nothing of
this is looked for as a pattern: tensors without a channel make their readers *hollow*, constants are followed until
they meet something that lives, and if nothing alive reads anything hollow in the end, the groups can go.

Removing still equals zeroing: the constant is what zeroed channels give.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

from spa_cli.channels.groups import Grouping
from spa_cli.channels.selection import Selection
from spa_cli.channels.state import Channels
from spa_cli.errors import CutError
from spa_cli.graph.guard import guarded
from spa_cli.graph.model import Array, Graph, Node
from spa_cli.operators.constants import of_constants, of_nothing, takes_constant


@dataclass(frozen=True, eq=False)
class Meeting:
    """A node that lives reads, as input ``index``, a tensor that becomes a constant.

    ``value``: of the tensor's rank, with axes of size 1 where it is the same; of all channels of the original.
    """

    node: Node
    index: int
    value: Array

    @property
    def name(self) -> str:
        """The tensor."""
        return self.node.inputs[self.index]


@dataclass(frozen=True, eq=False)
class Bypass:
    """What goes with ``whole``, groups that lose all their channels; ``groups``: these, and those that die with them.

    ``dead``: nodes that nothing needs any more, ``unread``: parameters that only they read; ``meetings``: where what
    lives reads a constant instead; ``ends``: the layers that read nothing.
    """

    whole: frozenset[int]
    groups: frozenset[int]
    dead: frozenset[Node]
    unread: frozenset[str]
    meetings: tuple[Meeting, ...]
    ends: tuple[Node, ...]


NOTHING = Bypass(frozenset(), frozenset(), frozenset(), frozenset(), (), ())


class Emptying:
    """Finds what goes with groups of one model; ``without`` remembers what it has found."""

    def __init__(self, graph: Graph, state: Channels, grouping: Grouping) -> None:
        self._graph, self._state, self._grouping = graph, state, grouping
        self._at = {id(n): at for at, n in enumerate(graph.nodes)}
        self._owners = {key: places for key, (_, places) in grouping.arrays().items()}
        self._groups_of: dict[str, list[int]] = {}
        for index, group in enumerate(grouping.groups):
            for name in {m.tensor for m in group.members}:
                self._groups_of.setdefault(name, []).append(index)
        self._found: dict[frozenset[int], Bypass | str] = {}

    def without(self, whole: Iterable[int]) -> Bypass:
        """What goes if all channels of these groups do; raises CutError where something alive still needs them."""
        key = frozenset(whole)
        if key not in self._found:
            try:
                self._found[key] = self._work_out(key)
            except CutError as why:
                self._found[key] = str(why)
        found = self._found[key]
        if isinstance(found, str):
            raise CutError(found)
        return found

    def _work_out(self, whole: frozenset[int]) -> Bypass:
        empty = self._empty(whole)
        if not empty:
            # every axis has channels of others
            return Bypass(whole, whole, frozenset(), frozenset(), (), ())
        hollow, constants, meetings, ends = self._follow(empty)
        if not meetings:
            raise CutError("nothing that lives goes on without these channels")
        touched = {self._graph.producers[n] for n in (*hollow, *constants) if n in self._graph.producers}
        dead = self._dead(touched, meetings)
        for name in hollow:
            maker = self._graph.producers.get(name)
            alive = next((n for n in self._graph.consumers.get(name, ()) if n not in dead), None)
            if alive is not None or name in self._graph.outputs or (maker is not None and maker not in dead):
                label = alive.label if alive is not None else name
                raise CutError(f"'{label}' needs a channel of '{self._named(whole)}'")
        # a node that isn't followed has made a constant hollow, unless it is fed to the outside
        if any(name in self._graph.outputs for name in constants):
            raise CutError(f"a graph output is all that is left of '{self._named(whole)}'")
        unread = {
            i
            for node in dead
            for i in node.inputs
            if i in self._graph.parameters and i not in self._graph.outputs and {*self._graph.consumers[i]} <= dead
        }
        if unread & self._graph.hidden:
            raise CutError("weights that are sparse or inside a body would be left over")
        gone = {o for node in dead for o in node.outputs} | unread
        groups = whole | {i for name in unread for i in self._groups_of.get(name, ()) if self._lies_in(i, gone)}
        return Bypass(whole, groups, frozenset(dead), frozenset(unread), tuple(meetings), tuple(ends))

    def _named(self, whole: frozenset[int]) -> str:
        return ", ".join(self._grouping.groups[i].name for i in sorted(whole))

    def _empty(self, whole: frozenset[int]) -> set[str]:
        """Tensors without an index that lives."""
        selection, rows = Selection(self._grouping).copy_emptied(whole), self._grouping.rows
        arrays = {id(rows[place]): rows[place] for index in whole for place in self._grouping.occurrences[index]}
        gone = [key for key, array in arrays.items() if not selection.mask(array).any()]
        return {name for key in gone for name, _ in self._owners[key]}

    def _follow(self, empty: set[str]) -> tuple[set[str], dict[str, Array], list[Meeting], list[Node]]:
        """Hollow tensors, constants, where those meet what lives, and where they begin."""
        graph, state = self._graph, self._state
        hollow, constants = set(empty), dict[str, Array]()
        meetings, ends = list[Meeting](), list[Node]()
        queue: list[int] = []
        seen: set[int] = set()

        def push(name: str) -> None:
            # who reads sizes or the type alone is looked at in the end
            for node in graph.readers(name):
                at = self._at.get(id(node))
                # what is inside a body lives, and is looked at in the end
                if at is not None and at not in seen:
                    seen.add(at)
                    heapq.heappush(queue, at)

        for name in empty:
            push(name)
        while queue:
            node = graph.nodes[heapq.heappop(queue)]
            outputs = [o for o in node.outputs if o]
            single = len(outputs) == 1 and outputs[0] == node.outputs[0] and not node.bodies and outputs[0] not in empty
            reads = [i for i in node.inputs[: 1 if node.op == "CastLike" else None] if i]
            value, meets = None, False
            with guarded(node, CutError):
                if single and hollow.intersection(reads):
                    value = of_nothing(node, state) if hollow.intersection(reads) <= empty else None
                    if value is not None:
                        ends.append(node)
                elif single:
                    value = of_constants(node, constants, state)
                    meets = value is None and takes_constant(node, constants, state)
            if meets:
                met = (i for i, name in enumerate(node.inputs) if name in constants)
                meetings += [Meeting(node, i, constants[node.inputs[i]]) for i in met]
                continue
            if value is None:
                hollow.update(outputs)
            else:
                constants[outputs[0]] = value
            for name in outputs:
                push(name)
        return hollow, constants, meetings, ends

    def _dead(self, touched: Iterable[Node], meetings: list[Meeting]) -> set[Node]:
        """Nodes that nothing alive reads; what they read follows, the last node first."""
        graph, met = self._graph, {(id(m.node), m.name) for m in meetings}
        queue = [-self._at[id(n)] for n in touched if id(n) in self._at]
        heapq.heapify(queue)
        seen, dead = set(queue), set[Node]()

        def needed(name: str) -> bool:
            readers = graph.consumers.get(name, ())
            return name in graph.outputs or any(n not in dead and (id(n), name) not in met for n in readers)

        while queue:
            node = graph.nodes[-heapq.heappop(queue)]
            if node.bodies or any(needed(o) for o in node.outputs if o):
                continue
            dead.add(node)
            for name in node.inputs:
                maker = graph.producers.get(name)
                at = -self._at.get(id(maker), -1)
                if maker is not None and at <= 0 and at not in seen:
                    seen.add(at)
                    heapq.heappush(queue, at)
        return dead

    def _lies_in(self, index: int, gone: set[str]) -> bool:
        """Whether all tensors in which a group occurs are gone."""
        arrays = (id(self._grouping.rows[place]) for place in self._grouping.occurrences[index])
        return all(name in gone for key in arrays for name, _ in self._owners[key])
