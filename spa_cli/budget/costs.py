"""Parameters and multiply-accumulates, before and after a selection."""

from __future__ import annotations

import contextlib
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np
from onnx import TensorProto
from onnx.helper import tensor_dtype_to_np_dtype

from spa_cli.channels.groups import Group, Grouping
from spa_cli.channels.ids import Rows
from spa_cli.channels.selection import Selection
from spa_cli.channels.state import Channels
from spa_cli.errors import CutError
from spa_cli.graph.control_flow import trips
from spa_cli.graph.guard import guarded
from spa_cli.graph.model import Graph, Node
from spa_cli.operators import record_of
from spa_cli.operators.bypass import NOTHING, Bypass, Emptying
from spa_cli.operators.contracts import ShapeOf

_FOUR_BITS = {TensorProto.INT4, TensorProto.UINT4, TensorProto.FLOAT4E2M1}


class _Uncounted(Exception):
    """A node that can't be counted; the sentence says why."""


def _turns(nodes: Iterable[Node], state: Channels, times: int) -> Iterator[tuple[int, int]]:
    """How often each node inside a body runs, as far as that is known (both branches of an If count)."""
    for node in nodes:
        inside = times
        if node.op in ("Loop", "Scan") and not node.domain:
            with contextlib.suppress(_Uncounted), guarded(node, _Uncounted):
                inside *= trips(node, state.shapes, state.value) or 1
        for body in node.bodies:
            yield from ((id(inner), inside) for inner in body.nodes)
            yield from _turns(body.nodes, state, inside)


class Costs:
    """What the model costs, and what a selection leaves of it."""

    def __init__(self, graph: Graph, state: Channels, grouping: Grouping) -> None:
        self._state, self._grouping = state, grouping
        self.weights = graph.weights()
        self._turns = dict(_turns(graph.nodes, state, 1))
        counted = {n: self._dense_macs(n) for n in graph.all_nodes if record_of(n).counted}
        self.nodes = [n for n, macs in counted.items() if macs is not None]
        self.skipped = [n for n, macs in counted.items() if macs is None]
        self.macs = sum(macs for macs in counted.values() if macs is not None)
        self.emptying = Emptying(graph, state, grouping)
        self._per_channel: dict[int, tuple[int, int]] = {}
        # of half a byte are elements of four bits
        kinds = {w: graph.parameters[w].data_type for w in self.weights}
        self._item = {w: 0.5 if k in _FOUR_BITS else tensor_dtype_to_np_dtype(k).itemsize for w, k in kinds.items()}
        self.params = sum(math.prod(graph.shape(w)) for w in self.weights)
        self._users: dict[int, tuple[list[Node], list[str]]] = defaultdict(lambda: ([], []))
        for node in self.nodes:
            arrays = {id(r) for name in (*node.inputs, *node.outputs) for r in self._arrays(name)}
            for array in arrays:
                self._users[array][0].append(node)
        for name in self.weights:
            for array in {id(r) for r in self._arrays(name)}:
                self._users[array][1].append(name)

    def macs_of(self, node: Node, shape: ShapeOf) -> int:
        """Multiply-accumulates of a node, in all the turns of the body that it is in."""
        return self._turns.get(id(node), 1) * record_of(node).macs(node, shape)

    def _dense_macs(self, node: Node) -> int | None:
        """Those of the whole model, ``None`` where they are not known."""
        if not self._complete(node):
            return None
        try:
            with guarded(node, _Uncounted, lasting=True):
                return self.macs_of(node, self.dense)
        except _Uncounted:
            return None

    def _sum(self, nodes: Iterable[Node], shape: ShapeOf) -> int:
        return sum(self.macs_of(n, shape) for n in nodes)

    def item(self, weight: str) -> float:
        """Bytes of one element of a weight."""
        return self._item[weight]

    def _complete(self, node: Node) -> bool:
        names = [n for n in (*node.inputs, node.outputs[0]) if n]
        return all((s := self._state.shapes.shape.get(n)) is not None and all(d is not None for d in s) for n in names)

    def _arrays(self, name: str) -> list[Rows]:
        rank = len(self._state.shapes.shape.get(name) or ())
        return [self._grouping.rows[name, i] for i in range(rank) if (name, i) in self._grouping.rows]

    def dense(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor of the whole model; 0 where it is not known."""
        return tuple(int(d or 0) for d in self._state.shapes.shape.get(name) or ())

    def shapes(self, selection: Selection) -> ShapeOf:
        """Shapes of tensors by name after a cut."""
        widths: dict[int, int] = {}

        def shape(name: str) -> tuple[int, ...]:
            result = list(self.dense(name))
            for i in range(len(result)):
                rows = self._grouping.rows.get((name, i))
                if rows is not None:
                    if id(rows) not in widths:
                        widths[id(rows)] = int(selection.mask(rows).sum())
                    result[i] = widths[id(rows)]
            return tuple(result)

        return shape

    def after(self, selection: Selection) -> tuple[int, int]:
        """(parameters, MACs) that are left; not counting what is added where a block goes whole."""
        shape, gone = self.shapes(selection), self._gone(selection)
        params = sum(math.prod(shape(w)) for w in self.weights if w not in gone.unread)
        return params, self._sum((n for n in self.nodes if n not in gone.dead), shape)

    def _gone(self, selection: Selection) -> Bypass:
        """What goes whole; nothing where no model is left without it."""
        emptied = selection.emptied
        try:
            return self.emptying.without(emptied) if emptied else NOTHING
        except CutError:
            return NOTHING

    @property
    def coin(self) -> str:
        """What a model's size is told in: "macs", or "params" where no MACs are counted."""
        return "macs" if self.macs else "params"

    def left(self, selection: Selection) -> float:
        """What a selection leaves of the original, in that coin."""
        params, macs = self.after(selection)
        return macs / self.macs if self.macs else params / self.params

    def by_node(self, selection: Selection | None = None) -> dict[str, int]:
        """MACs of every node that is counted, by its label; of what a selection leaves, if one is given."""
        shape = self.dense if selection is None else self.shapes(selection)
        dead = () if selection is None else self._gone(selection).dead
        found: dict[str, int] = defaultdict(int)
        for node in self.nodes:
            found[node.label] += 0 if node in dead else self._sum([node], shape)
        return dict(found)

    def bytes_after(self, selection: Selection) -> int:
        """Bytes of the weights that are left."""
        shape, unread = self.shapes(selection), self._gone(selection).unread
        return int(sum(self._item[w] * math.prod(shape(w)) for w in self.weights if w not in unread))

    def per_channel(self, index: int, group: Group) -> tuple[int, int]:
        """(parameters, MACs) that go with one channel of an otherwise whole model; worked out once a group."""
        if index not in self._per_channel:
            self._per_channel[index] = self._of_channel(index, group)
        return self._per_channel[index]

    def _of_channel(self, index: int, group: Group) -> tuple[int, int]:
        selection = Selection(self._grouping)
        mask = np.ones((len(group.blocks), group.channels) if len(group.blocks) else group.channels, bool)
        mask[..., -1] = False
        selection.keep(index, mask)
        touched = {
            id(r): r for name_axis in self._grouping.occurrences[index] for r in [self._grouping.rows[name_axis]]
        }
        nodes = {id(n): n for array in touched for n in self._users[array][0]}.values()
        names = {w for array in touched for w in self._users[array][1]}
        shape = self.shapes(selection)
        return (
            sum(math.prod(self.dense(w)) - math.prod(shape(w)) for w in names),
            self._sum(nodes, self.dense) - self._sum(nodes, shape),
        )
