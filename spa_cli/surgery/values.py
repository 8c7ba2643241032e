"""Sizes and positions that the graph computes: what they will be after the cut, and how to change single ones.

A shape is often computed (``Shape -> Gather -> Concat -> Reshape``), with constants for the static entries. Entries
that depend on the input stay as they are; a constant that has become wrong is changed where it comes from if nothing
else reads it, else the one consumer gets an input of its own.
"""

from __future__ import annotations

import re

import numpy as np
import onnx
from onnx import helper, numpy_helper

from spa_cli.errors import CutError
from spa_cli.graph.model import Array, Node
from spa_cli.graph.shapes import MAX_KNOWN, reference
from spa_cli.graph.view import bodies
from spa_cli.surgery.remaining import Remaining

# one input element is one output element, in order
_SAME_ELEMENTS = frozenset({"Identity", "Cast", "Unsqueeze", "Squeeze", "Reshape", "Flatten"})
# operators that read sizes as sizes, or compute sizes from sizes
_COMPUTES_SIZES = frozenset(
    re.findall(
        r"\w+",
        "Identity Unsqueeze Squeeze Concat Gather Slice Add Sub Mul Div Mod Min Max Neg Abs Where Equal Less Greater "
        "Not And Or LessOrEqual GreaterOrEqual ReduceProd ReduceSum ReduceMax ReduceMin Shape Size Flatten Transpose "
        "ConstantOfShape Expand Tile Reshape Split Pad Resize MaxUnpool Floor Ceil",
    )
)


class Values:
    """Known integer tensors of the model that is being cut."""

    def __init__(self, cut: Remaining) -> None:
        self._cut = cut
        self._now: dict[str, Array | None] = {}
        self._edited: dict[str, Array] = {}
        self._made: dict[bytes, str] = {}
        self._sizes: set[str] = set()
        self.new_parameters: dict[str, Array] = {}
        self.inserted: list[tuple[onnx.NodeProto, list[onnx.NodeProto]]] = []
        self._producer = cut.graph.producers
        inside = {i for body in bodies(cut.graph.all_nodes) for i in body.inputs}
        self._names = set(self._producer) | set(cut.graph.parameters) | set(cut.graph.inputs) | inside

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
        if name in self._cut.graph.parameters and self._cut.changed(name):
            return self._cut.gather(name) if self._cut.old_value(name) is not None else None
        return self._cut.old_value(name)

    def advance(self, node: Node) -> None:
        """Work out what a node gives after the cut, once its own rewrite is done."""
        cut = self._cut
        if not any(self.affected(i) for i in cut.proto(node).input if i):
            return
        if node.op in ("Shape", "Size") and not node.domain:
            self._now[node.outputs[0]] = self._shape_value(node)
            self._sizes.add(node.outputs[0])
            return
        if all(o not in cut.known.value for o in node.outputs):
            return
        proto = cut.proto(node)
        if any(i in self._sizes for i in proto.input):
            # sizes are integers; what they cut out of a table of numbers is not one
            whole = (o for o in node.outputs if o in cut.known.value and cut.known.value[o].dtype.kind in "iub")
            self._sizes.update(whole)
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

    def check_outputs(self) -> None:
        """A size that a graph or a body gives keeps its value; raises CutError if it would not."""
        for name in self._cut.graph.outputs:
            if self._differs(name):
                raise CutError(f"the size given as graph output '{name}' would change")
        for body in bodies(self._cut.graph.all_nodes):
            for name in body.outputs:
                if self._differs(name):
                    raise CutError(f"the size '{name}', which a body gives, would change")

    def pin(self, node: Node) -> None:
        """A size that leaves shape arithmetic is a number (the root of a head's size, a range): it keeps its value.

        Raises CutError if it can't.
        """
        integer_cast = node.op == "Cast" and node.attr("to") in (onnx.TensorProto.INT32, onnx.TensorProto.INT64)
        if node.domain or not (node.op in _COMPUTES_SIZES or integer_cast):
            # what a rewrite has put there is what the node wants
            now = self._cut.proto(node).input
            for index, name in enumerate(node.inputs[: len(now)]):
                if name and now[index] == name and self._differs(name):
                    self._restore(node, index, name)

    def _differs(self, name: str) -> bool:
        if name not in self._sizes or self._cut.changed(name):
            return False
        old, now = self._cut.old_value(name), self.now(name)
        return old is not None and (now is None or not np.array_equal(old, now))

    def _restore(self, node: Node, index: int, name: str) -> None:
        old, now = self._cut.old_value(name), self.now(name)
        assert old is not None
        if not self._cut.varying(name).any():
            self.connect(node, index, old)
        elif now is None or now.shape != old.shape or now.ndim != 1:
            raise CutError(f"'{node.label}' reads the size '{name}', which would change")
        else:
            different = np.flatnonzero(old != now)
            self.set_elements(node, index, {int(i): int(old[i]) for i in different})

    def set_constant(self, node: Node, index: int, value: Array) -> None:
        """Give a node a constant input, in place if it is the only reader of the one it has."""
        name = node.input(index)
        if name in self._cut.graph.parameters and self._read_once(name):
            self._edited[name] = value
            return
        self.connect(node, index, value)

    def set_elements(self, node: Node, index: int, wanted: dict[int, int]) -> None:
        """Change entries of a 1-D integer input of ``node``; raises CutError if that can't be done."""
        name = self._cut.proto(node).input[index]
        current = self.now(name)
        if name in self._cut.graph.parameters or name in self.new_parameters:
            assert current is not None
            value = current.copy()
            for i, v in wanted.items():
                value.reshape(-1)[i] = v
            if name in self._cut.graph.parameters and self._read_once(name):
                self._edited[name] = value
            else:
                self.connect(node, index, value)
            return
        rest = {}
        varying = self._cut.varying(name)
        if varying.size <= max(wanted):
            raise CutError(f"how many sizes '{node.label}' reads from '{name}' depends on the data")
        for i, v in wanted.items():
            origin = self._origin(name, i)
            if varying.reshape(-1)[i]:
                origin, v = self._factor(name, i, v)
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

    def put_before(self, node: Node, index: int, op: str, value: Array, attributes: dict[str, int]) -> None:
        """Put an operator on an input of ``node`` and a constant in front of that input."""
        proto = self._cut.proto(node)
        name = proto.input[index]
        result = self._fresh(name)
        operands = [name, self._new_parameter(value, f"{name}_{op.lower()}")]
        made = helper.make_node(op, operands, [result], self._fresh(f"{node.label}_{op.lower()}"))
        made.attribute.extend(helper.make_attribute(key, number) for key, number in attributes.items())
        self.inserted.append((proto, [made]))
        proto.input[index] = result

    # -- inside -------------------------------------------------------------------------------------------------------

    def affected(self, name: str) -> bool:
        """Whether a tensor's shape or value is no longer what it was."""
        return name in self._now or name in self._edited or name in self.new_parameters or self._cut.changed(name)

    def _shape_value(self, node: Node) -> Array:
        shape = np.array(self._cut.shape(node.inputs[0]), np.int64)
        if node.op == "Size":
            return np.array(shape.prod(), np.int64)
        return shape[slice(node.attr("start", 0), node.attr("end", len(shape)))]

    def _read_once(self, name: str) -> bool:
        """Whether a change of a tensor would be noticed by one node alone."""
        return self._cut.graph.only_consumer(name) is not None

    def _origin(self, name: str, element: int) -> tuple[str, int] | None:
        """The constant entry that ends up as ``element`` of ``name``, if only this path reads it."""
        found = self._trace(name, element)
        if found is None or found[0] not in self._cut.graph.parameters or not self._read_once(found[0]):
            return None
        return found if self.now(found[0]) is not None else None

    def _trace(self, name: str, element: int, shared: bool = False) -> tuple[str, int] | None:
        """Where ``element`` of ``name`` comes from, through operators that only move it and that nothing else reads.

        ``shared``: others may read it. What grows with the input has to change at its source; a reader that wants
        something else fails verification.
        """
        while True:
            node = self._producer.get(name)
            if name in self._cut.graph.parameters or node is None or node.domain:
                return name, element
            if node.op not in _SAME_ELEMENTS and node.op != "Concat":
                return name, element
            if not shared and not self._read_once(name):
                return None
            if node.op in _SAME_ELEMENTS:
                name = node.inputs[0]
                continue
            for part in node.inputs:
                value = self._cut.old_value(part)
                if value is None:
                    return None
                if element < value.size:
                    name = part
                    break
                element -= value.size

    def _factor(self, name: str, element: int, wanted: int) -> tuple[tuple[str, int], int]:
        """An entry that grows with the input (batch times heads) is changed in its constant factor."""
        at = self._trace(name, element, shared=True)
        node = self._producer.get(at[0]) if at else None
        if at is not None and node is not None and node.op == "Mul" and not node.domain and self._read_once(at[0]):
            for constant_side, other in (node.inputs, node.inputs[::-1]):
                rest, old = self.now(other), self._cut.old_value(constant_side)
                origin = self._origin(constant_side, 0) if old is not None and old.size == 1 else None
                if origin is None or rest is None or rest.size != 1 or self._cut.varying(constant_side).any():
                    continue
                factor, left = divmod(wanted, int(rest.reshape(-1)[0]))
                if not left:
                    return origin, factor
        raise CutError(f"the size '{name}' depends on the input in a way that can't be rewritten")

    def connect(self, node: Node, index: int, value: Array) -> None:
        """Give a node a constant of its own as an input."""
        proto = self._cut.proto(node)
        while len(proto.input) <= index:
            proto.input.append("")
        proto.input[index] = self._new_parameter(value, node.input(index) or f"{node.outputs[0]}_{index}")

    def own(self, value: Array, stem: str) -> str:
        """Name of a new parameter that nothing else shares."""
        name = self._fresh(stem)
        self.new_parameters[name] = value
        return name

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
    return numpy_helper.from_array(np.asarray(value, order="C"), name)
