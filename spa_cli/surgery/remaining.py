"""What a selection leaves of every tensor: shapes and kept indices, before and after."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import onnx

from spa_cli.channels.groups import Grouping
from spa_cli.channels.selection import Mask, Selection
from spa_cli.channels.state import Channels
from spa_cli.graph.bodies import all_nodes
from spa_cli.graph.model import Array, Graph, Node
from spa_cli.graph.shapes import Shapes, constant
from spa_cli.graph.states import Pair, State


class Remaining:
    """A graph, a selection, and the new model: its nodes are those of the old one, its initializers are not in yet.

    ``shape`` is a tensor's shape after the cut; the ``old_`` ones are those before.
    """

    def __init__(self, graph: Graph, state: Channels, grouping: Grouping, selection: Selection) -> None:
        self.graph, self._state, self._grouping, self._selection = graph, state, grouping, selection
        self.model = _skeleton(graph.model)
        # where the external data of that lies
        self.folder = graph.folder
        old, new = all_nodes(graph.model.graph), all_nodes(self.model.graph)
        self._proto = dict(zip(map(id, old), new, strict=True))
        self._masks: dict[int, Mask] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}

    @property
    def known(self) -> Shapes:
        """Shapes and values before the cut."""
        return self._state.shapes

    def proto(self, node: Node) -> onnx.NodeProto:
        """The node in the new model."""
        found: onnx.NodeProto = self._proto[id(node.proto)]
        return found

    def kept_mask(self, name: str, axis: int) -> Mask:
        """Which indices of an axis stay."""
        rows = self._grouping.rows.get((name, axis))
        if rows is None:
            return np.ones(self.old_shape(name)[axis], bool)
        if id(rows) not in self._masks:
            self._masks[id(rows)] = self._selection.mask(rows)
        return self._masks[id(rows)]

    def moves(self, name: str, axis: int) -> bool:
        """Whether an axis has channels at all (none of a static one can go)."""
        return (name, axis) in self._grouping.rows

    def new_positions(self, name: str, axis: int) -> Array:
        """For each old index its new one, -1 if it is gone."""
        mask = self.kept_mask(name, axis)
        return np.where(mask, np.cumsum(mask) - 1, -1)

    def old_shape(self, name: str) -> tuple[int, ...]:
        """Shape before the cut (0 where data decides)."""
        return tuple(int(d or 0) for d in self.known.shape.get(name) or ())

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape after the cut (0 where data decides)."""
        if name not in self._shapes:
            self._shapes[name] = tuple(
                int(self.kept_mask(name, i).sum()) if (name, i) in self._grouping.rows else d
                for i, d in enumerate(self.old_shape(name))
            )
        return self._shapes[name]

    def changed(self, name: str) -> bool:
        """Whether a tensor loses anything."""
        return self.shape(name) != self.old_shape(name)

    def old_value(self, name: str) -> Array | None:
        """Value of a small tensor before the cut."""
        return constant(self.graph, self.known, name) if name else None

    def varying(self, name: str) -> Array:
        """Which entries of a small tensor depend on the free dimensions of the inputs."""
        old = self.old_value(name)
        mask = self.known.varying.get(name)
        return np.zeros(self.old_shape(name) if old is None else old.shape, bool) if mask is None else mask

    def kept_indices(self, name: str) -> dict[str, list[int] | list[list[int]]]:
        """The plan's entry for a parameter: kept indices per axis that loses any, per block where they differ."""
        entry: dict[str, list[int] | list[list[int]]] = {}
        for axis in range(len(self.old_shape(name))):
            rows = self._grouping.rows.get((name, axis))
            if rows is None or self.kept_mask(name, axis).all():
                continue
            blocks = self._selection.blocks(rows)
            if blocks is None:
                entry[str(axis)] = np.flatnonzero(self.kept_mask(name, axis)).tolist()
            else:
                entry[str(axis)] = [b.tolist() for b in blocks]
        return entry

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """States and what gives them back, where they may lose channels."""
        return tuple(p for p in self._state.pairs if not p.why)

    @property
    def states(self) -> tuple[State, ...]:
        """What is left of every state that loses channels."""
        found = (self._state_of(pair) for pair in self.pairs)
        return tuple(state for state in found if state.kept)

    def _state_of(self, pair: Pair) -> State:
        axes = {a: mask for a in pair.axes if not (mask := self.kept_mask(pair.input, a)).all()}
        kept: dict[int, tuple[Any, ...]] = {a: tuple(np.flatnonzero(mask).tolist()) for a, mask in axes.items()}
        every = range(len(self.old_shape(pair.input)))
        rows = {a: self._grouping.rows[pair.input, a] for a in every if (pair.input, a) in self._grouping.rows}
        along = dict[int, int]()
        for a, b in permutations(rows, 2):
            if a in kept and (own := self._selection.for_each(rows[a], rows[b])) is not None:
                kept[a], along[a] = tuple(tuple(one.tolist()) for one in own), b
        return State(pair.input, pair.output, kept, {a: len(mask) for a, mask in axes.items()}, along)

    def gather(self, name: str) -> Array:
        """Values of a parameter that stay."""
        return gather(self.graph.array(name), self.kept_indices(name))


def gather(array: Array, entry: dict[str, list[int] | list[list[int]]]) -> Array:
    """The part of ``array`` a plan's entry keeps (a list of lists cuts axis 0 into that many equal blocks)."""
    plain = {int(a): kept for a, kept in entry.items() if not (kept and isinstance(kept[0], list))}
    for axis, blocks in entry.items():
        if int(axis) in plain:
            continue
        size = array.shape[0] // len(blocks)
        rows = np.asarray(plain.pop(0, range(array.shape[0])))
        parts = []
        for k, kept in enumerate(blocks):
            own = rows[(rows >= k * size) & (rows < (k + 1) * size)]
            if len(own):
                parts.append(np.take(np.take(array, own, 0), np.asarray(kept, np.int64), int(axis)))
        array = np.concatenate(parts, 0)
    for axis_number, kept in plain.items():
        array = np.take(array, np.asarray(kept, np.int64), axis_number)
    return array


def removed_mask(shape: tuple[int, ...], entry: dict[str, list[int] | list[list[int]]]) -> Array:
    """True where an element of a parameter belongs to an index its plan entry does not keep."""
    mask = np.zeros(shape, bool)
    for axis_name, kept in entry.items():
        axis = int(axis_name)
        blocks = kept if kept and isinstance(kept[0], list) else None
        if blocks is None:
            gone = np.ones(shape[axis], bool)
            gone[kept] = False
            np.moveaxis(mask, axis, 0)[gone] = True
            continue
        size = shape[0] // len(blocks)
        for k, rows in enumerate(blocks):
            gone = np.ones(shape[axis], bool)
            gone[rows] = False
            np.moveaxis(mask[k * size : (k + 1) * size], axis, 0)[gone] = True
    return mask


def _skeleton(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of everything but the initializers, so that weights are never held twice."""
    copy = onnx.ModelProto()
    for field, value in model.ListFields():
        if field.name == "graph":
            continue
        if hasattr(value, "append"):
            getattr(copy, field.name).extend(value)
        else:
            setattr(copy, field.name, value)
    for field, value in model.graph.ListFields():
        if field.name == "initializer":
            continue
        if hasattr(value, "append"):
            getattr(copy.graph, field.name).extend(value)
        else:
            setattr(copy.graph, field.name, value)
    return copy
