"""Cutting: obeys a selection. Every tensor that loses channels gets its new shape, every node its new sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper

from spa_cli.channels.groups import Grouping
from spa_cli.channels.selection import Mask, Selection
from spa_cli.channels.state import Channels
from spa_cli.graph.bodies import all_nodes
from spa_cli.graph.model import Array, Graph, Node
from spa_cli.graph.shapes import Shapes, constant
from spa_cli.surgery.values import Values


class Cut:
    """The model while it is being cut; what a rule's ``rewrite`` reads and changes.

    ``shape`` is a tensor's shape after the cut, ``value`` what a small tensor will hold after the cut as the graph
    stands now (rewrites run in topological order); the ``old_`` ones are those before.
    """

    def __init__(self, graph: Graph, state: Channels, grouping: Grouping, selection: Selection) -> None:
        self.graph, self._state, self._grouping, self._selection = graph, state, grouping, selection
        self.model = _skeleton(graph.model)
        old, new = all_nodes(graph.model.graph), all_nodes(self.model.graph)
        self._proto = dict(zip(map(id, old), new, strict=True))
        self._masks: dict[int, Mask] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self.dropped: list[onnx.NodeProto] = []
        self.values = Values(self)

    # -- reading ------------------------------------------------------------------------------------------------------

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
        return np.zeros(() if old is None else old.shape, bool) if mask is None else mask

    def value(self, name: str) -> Array | None:
        """Value of a small tensor after the cut, as things stand."""
        return self.values.now(name)

    def attribute(self, node: Node, name: str) -> Any:
        """Attribute of the node in the new model."""
        return next((helper.get_attribute_value(a) for a in self.proto(node).attribute if a.name == name), None)

    # -- changing -----------------------------------------------------------------------------------------------------

    def set_attribute(self, node: Node, name: str, value: Any) -> None:
        """Replace or add an attribute."""
        if self.attribute(node, name) != value:
            self.remove_attribute(node, name)
            self.proto(node).attribute.append(helper.make_attribute(name, value))

    def remove_attribute(self, node: Node, name: str) -> None:
        """Drop an attribute if it is there."""
        attributes = self.proto(node).attribute
        for attribute in [a for a in attributes if a.name == name]:
            attributes.remove(attribute)

    def become(self, node: Node, op: str, source: str, indices: Array, **attributes: int) -> None:
        """Make a node another operator of the standard domain, on one tensor and a constant of indices."""
        proto = self.proto(node)
        proto.op_type, proto.domain = op, ""
        del proto.attribute[:]
        proto.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
        del proto.input[:]
        proto.input.append(source)
        self.values.connect(node, 1, indices.astype(np.int64))

    def drop(self, node: Node) -> None:
        """Take a node out whose outputs nobody reads any more."""
        self.dropped.append(self.proto(node))

    def set_elements(self, node: Node, index: int, wanted: dict[int, int]) -> None:
        """Change single entries of a 1-D integer input, leaving computed (dynamic) ones to the graph.

        Raises CutError if an entry can't be rewritten.
        """
        if wanted:
            self.values.set_elements(node, index, wanted)

    def set_constant(self, node: Node, index: int, value: Array) -> None:
        """Give a node a constant input."""
        self.values.set_constant(node, index, value)

    # -- parameters ---------------------------------------------------------------------------------------------------

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
