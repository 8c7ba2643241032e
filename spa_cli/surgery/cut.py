"""Cutting: obeys a selection. Every tensor that loses channels gets its new shape, every node its new sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper

from spa_cli.channels.groups import Grouping
from spa_cli.channels.selection import Selection
from spa_cli.channels.state import Channels
from spa_cli.graph.model import Array, Graph, Node
from spa_cli.surgery.remaining import Remaining
from spa_cli.surgery.values import Values


class Cut(Remaining):
    """The model while it is being cut; what a rule's ``rewrite`` reads and changes.

    ``shape`` is a tensor's shape after the cut, ``value`` what a small tensor will hold after the cut as the graph
    stands now (rewrites run in topological order); the ``old_`` ones are those before.
    """

    def __init__(self, graph: Graph, state: Channels, grouping: Grouping, selection: Selection) -> None:
        super().__init__(graph, state, grouping, selection)
        self.dropped: list[onnx.NodeProto] = []
        # by the output of the node that reads it
        self.held: dict[str, str] = {}
        self.unread: set[str] = set()
        self.values = Values(self)

    # -- reading ------------------------------------------------------------------------------------------------------

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

    def hold(self, node: Node, index: int, value: Array) -> None:
        """Give a node a constant of its own for a tensor that was computed, without the channels that are cut.

        ``value``: of the tensor's rank, with axes of size 1 where it is the same.
        """
        for axis, size in enumerate(value.shape):
            if size > 1:
                value = np.compress(self.kept_mask(node.inputs[index], axis), value, axis)
        name = self.values.own(value, f"{node.outputs[0]}_constant")
        self.proto(node).input[index] = name
        self.held.setdefault(node.outputs[0], name)

    def leave_out(self, node: Node, index: int) -> None:
        """Do without an optional input, and without what only it needed."""
        inputs = self.proto(node).input
        name, inputs[index] = inputs[index], ""
        while inputs and not inputs[-1]:
            inputs.pop()
        self._sweep(name)

    def _sweep(self, name: str) -> None:
        """Drop what gives a tensor if nobody reads what it gives: a node, an initializer that is no graph input."""
        node = self.graph.producers.get(name)
        if node is None:
            if name in self.graph.parameters and not self._read(name):
                self.unread.add(name)
            return
        if node.bodies or any(self._read(o) for o in node.outputs):
            return
        self.drop(node)
        for given in dict.fromkeys(i for i in node.inputs if i):
            self._sweep(given)

    def _read(self, name: str) -> bool:
        """Whether the graph gives a tensor, or a node that is left reads it."""
        gone = {id(proto) for proto in self.dropped}
        return name in self.graph.outputs or any(
            id(self.proto(n)) not in gone
            and (name in self.proto(n).input or any(name in body.outputs for body in n.bodies))
            for n in self.graph.consumers.get(name, ())
        )

    def set_elements(self, node: Node, index: int, wanted: dict[int, int]) -> None:
        """Change single entries of a 1-D integer input, leaving computed (dynamic) ones to the graph.

        Raises CutError if an entry can't be rewritten.
        """
        if wanted:
            self.values.set_elements(node, index, wanted)

    def set_constant(self, node: Node, index: int, value: Array) -> None:
        """Give a node a constant input."""
        self.values.set_constant(node, index, value)

    def put_before(self, node: Node, index: int, op: str, constant: Array, **attributes: int) -> None:
        """Put an operator on an input of a node and a constant in front of that input."""
        self.values.put_before(node, index, op, constant, attributes)
