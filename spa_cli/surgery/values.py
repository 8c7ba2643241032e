"""Sizes and positions that the graph computes: what they will be after the cut, and how to change single ones.

A shape is often computed (``Shape -> Gather -> Concat -> Reshape``), with constants for the static entries. Entries
that depend on the input stay as they are; a constant that has become wrong is changed where it comes from if nothing
else reads it, else the one consumer gets an input of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import helper, numpy_helper

from spa_cli.graph.model import Array, Node
from spa_cli.graph.shapes import MAX_KNOWN, reference

if TYPE_CHECKING:
    from spa_cli.surgery.cut import Cut

# one input element is one output element, in order
_SAME_ELEMENTS = frozenset({"Identity", "Cast", "Unsqueeze", "Squeeze", "Reshape", "Flatten"})


class CutError(Exception):
    """A node can't be brought in line with the cut; the sentence says why."""


class Values:
    """Known integer tensors of the model that is being cut."""

    def __init__(self, cut: Cut) -> None:
        self._cut = cut
        self._now: dict[str, Array | None] = {}
        self._edited: dict[str, Array] = {}
        self._made: dict[bytes, str] = {}
        self.new_parameters: dict[str, Array] = {}
        self.inserted: list[tuple[onnx.NodeProto, list[onnx.NodeProto]]] = []
        self._producer = {o: n for n in cut.graph.nodes for o in n.outputs if o}
        self._names = set(self._producer) | set(cut.graph.parameters) | set(cut.graph.inputs)

    @property
    def edited_parameters(self) -> dict[str, Array]:
        """Parameters whose values were changed in place."""
        return self._edited

    def now(self, name: str) -> Array | None:
        """Value of a small tensor as the graph stands; ``None`` if unknown."""
        if name in self.new_parameters:
            return self.new_parameters[name]
        if name in self._edited:
            return self._edited[name]
        if name in self._now:
            return self._now[name]
        return self._cut.old_value(name)

    def advance(self, node: Node) -> None:
        """Work out what a node gives after the cut, once its own rewrite is done."""
        cut = self._cut
        if not any(self._affected(i) for i in cut.proto(node).input if i):
            return
        if node.op in ("Shape", "Size") and not node.domain:
            self._now[node.outputs[0]] = self._shape_value(node)
            return
        if all(o not in cut.known.value for o in node.outputs):
            return
        proto = cut.proto(node)
        values = [self.now(i) if i else None for i in proto.input]
        if any(v is None and i for v, i in zip(values, proto.input, strict=True)):
            results: tuple[Array | None, ...] = (None,) * len(node.outputs)
        else:
            try:
                results = tuple(np.asarray(r) for r in reference(_with_proto(node, proto), values))
            except Exception:  # noqa: BLE001 - the reference refuses; the value is then unknown
                results = (None,) * len(node.outputs)
        for name, result in zip(node.outputs, results, strict=False):
            self._now[name] = result

    def pin_numbers(self, node: Node) -> None:
        """A size used as a *number* (sqrt of a head's size) keeps the value the network was trained with."""
        cut = self._cut
        if node.op != "Cast" or node.domain or node.attr("to") not in (1, 10, 11, 16):
            return
        old, now = cut.old_value(node.inputs[0]), self.now(node.inputs[0])
        if old is None or now is None or now.shape != old.shape or np.array_equal(old, now):
            return
        if old.dtype.kind in "iu":
            flat = np.flatnonzero(old.ravel() != now.ravel())
            if old.ndim == 0:
                self.set_constant(node, 0, old)
            else:
                self.set_elements(node, 0, {int(i): int(old.ravel()[i]) for i in flat})

    def set_constant(self, node: Node, index: int, value: Array) -> None:
        """Give a node a constant input, in place if it is the only reader of the one it has."""
        name = node.input(index)
        if name in self._cut.graph.parameters and self._only_reader(name):
            self._edited[name] = value
            return
        self._connect(node, index, value)

    def set_elements(self, node: Node, index: int, wanted: dict[int, int]) -> None:
        """Change entries of a 1-D integer input of ``node``."""
        name = self._cut.proto(node).input[index]
        current = self.now(name)
        if name in self._cut.graph.parameters or name in self.new_parameters:
            assert current is not None
            value = current.copy()
            for i, v in wanted.items():
                value.reshape(-1)[i] = v
            if name in self._cut.graph.parameters and self._only_reader(name):
                self._edited[name] = value
            else:
                self._connect(node, index, value)
            return
        rest = {}
        for i, v in wanted.items():
            origin = self._origin(name, i)
            if origin is None:
                rest[i] = v
                continue
            source, element = origin
            value = np.array(self.now(source))
            value.reshape(-1)[element] = v
            self._edited[source] = value
        if rest:
            self._patch(node, index, rest)
        elif current is not None:
            value = current.copy()
            for i, v in wanted.items():
                value.reshape(-1)[i] = v
            self._now[name] = value

    # -- inside -------------------------------------------------------------------------------------------------------

    def _affected(self, name: str) -> bool:
        return name in self._now or name in self._edited or name in self.new_parameters or self._cut.changed(name)

    def _shape_value(self, node: Node) -> Array:
        shape = np.array(self._cut.shape(node.inputs[0]), np.int64)
        if node.op == "Size":
            return np.array(shape.prod(), np.int64)
        return shape[slice(node.attr("start", 0), node.attr("end", len(shape)))]

    def _only_reader(self, name: str) -> bool:
        graph = self._cut.graph
        return len(graph.consumers.get(name, ())) == 1 and name not in graph.outputs

    def _origin(self, name: str, element: int) -> tuple[str, int] | None:
        """The constant entry that ends up as ``element`` of ``name``, if only this path reads it."""
        while self._only_reader(name):
            if name in self._cut.graph.parameters:
                known = self.now(name)
                return (name, element) if known is not None else None
            node = self._producer.get(name)
            if node is None or node.domain:
                return None
            if node.op in _SAME_ELEMENTS:
                name = node.inputs[0]
            elif node.op == "Concat":
                for part in node.inputs:
                    size = self._cut.old_value(part)
                    if size is None:
                        return None
                    if element < size.size:
                        name = part
                        break
                    element -= size.size
            elif node.op == "Constant":
                return None
            else:
                return None
        return None

    def _connect(self, node: Node, index: int, value: Array) -> None:
        proto = self._cut.proto(node)
        while len(proto.input) <= index:
            proto.input.append("")
        proto.input[index] = self._new_parameter(value, node.input(index) or f"{node.outputs[0]}_{index}")

    def _new_parameter(self, value: Array, stem: str) -> str:
        key = value.dtype.str.encode() + repr(value.shape).encode() + value.tobytes()
        if key not in self._made:
            self._made[key] = self._fresh(stem)
            self.new_parameters[self._made[key]] = value
        return self._made[key]

    def _fresh(self, stem: str) -> str:
        number = 0
        while f"{stem}_spa{number}" in self._names:
            number += 1
        self._names.add(f"{stem}_spa{number}")
        return f"{stem}_spa{number}"

    def _patch(self, node: Node, index: int, wanted: dict[int, int]) -> None:
        """``Where(static, constants, computed)`` in front of one input."""
        proto = self._cut.proto(node)
        name = proto.input[index]
        old = self._cut.old_value(name)
        size = self._cut.old_shape(name)
        if len(size) > 1 or (old is None and not size) or (size and size[0] > MAX_KNOWN) or self._cut.graph.opset < 9:
            raise CutError(f"the sizes that '{node.label}' reads from '{name}' can't be rewritten")
        static = np.zeros(size, bool)
        dtype = np.int64 if old is None else old.dtype
        values = np.zeros(size, dtype)
        for i, v in wanted.items():
            static.reshape(-1)[i], values.reshape(-1)[i] = True, v
        result = self._fresh(name)
        where = helper.make_node(
            "Where",
            [self._new_parameter(static, f"{name}_static"), self._new_parameter(values, f"{name}_sizes"), name],
            [result],
            name=self._fresh(f"{node.label}_sizes"),
        )
        self.inserted.append((proto, [where]))
        proto.input[index] = result
        current = self.now(name)
        self._now[result] = None if current is None else np.where(static, values, current)


def _with_proto(node: Node, proto: onnx.NodeProto) -> Node:
    return Node(
        node.op, node.domain, node.name, node.attrs, tuple(proto.input), tuple(proto.output), node.version, proto
    )


def tensor(value: Array, name: str) -> onnx.TensorProto:
    """A TensorProto with raw data."""
    return numpy_helper.from_array(np.ascontiguousarray(value), name)
