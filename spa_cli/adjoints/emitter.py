"""Emitting nodes, each in the form that the model's operator set has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from spa_cli.graph.model import Array

INT64, BOOL = TensorProto.INT64, TensorProto.BOOL


class NoAdjoint(Exception):
    """There is no gradient, for this reason."""


@dataclass(frozen=True)
class Value:
    """A tensor of the graph that is emitted; arithmetic on it emits nodes. Numbers become constants of its type."""

    emit: Emitter
    name: str
    dtype: int

    def __add__(self, other: Operand) -> Value:
        return self.emit.op("Add", self, other)

    def __sub__(self, other: Operand) -> Value:
        return self.emit.op("Sub", self, other)

    def __mul__(self, other: Operand) -> Value:
        return self.emit.op("Mul", self, other)

    def __truediv__(self, other: Operand) -> Value:
        return self.emit.op("Div", self, other)

    def __radd__(self, other: Operand) -> Value:
        return self + other

    def __rmul__(self, other: Operand) -> Value:
        return self * other

    def __rsub__(self, other: Operand) -> Value:
        return self.emit.op("Sub", self.emit.like(other, self), self)

    def __rtruediv__(self, other: Operand) -> Value:
        return self.emit.op("Div", self.emit.like(other, self), self)

    def __neg__(self) -> Value:
        return self.emit.op("Neg", self)

    def __matmul__(self, other: Value) -> Value:
        return self.emit.op("MatMul", self, other)

    def __gt__(self, other: Operand) -> Value:  # type: ignore[misc]
        return self.emit.op("Greater", self, other, dtype=BOOL)

    def __lt__(self, other: Operand) -> Value:  # type: ignore[misc]
        return self.emit.op("Less", self, other, dtype=BOOL)

    def __invert__(self) -> Value:
        return self.emit.op("Not", self)

    def where(self, condition: Value) -> Value:
        """What it is where ``condition`` holds, zero elsewhere."""
        return self * self.emit.cast(condition, self.dtype)


Operand: TypeAlias = Value | Array | float
Ints: TypeAlias = Value | Sequence[int]


class Emitter:
    """Nodes and constants to add to a model of that ``opset``; the same node is emitted once."""

    def __init__(self, opset: int, taken: set[str]) -> None:
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.taken = taken
        self._seen: dict[bytes, list[str]] = {}
        self._count = 0

    def fresh(self, wish: str) -> str:
        """A name that nothing has yet."""
        name = wish
        while name in self.taken:
            self._count += 1
            name = f"{wish}_{self._count}"
        self.taken.add(name)
        return name

    def ops(
        self,
        op: str,
        inputs: Sequence[Value | None],
        count: int,
        domain: str = "",
        names: Sequence[str] = (),
        **attrs: Any,
    ) -> list[str]:
        """Names of the outputs of a node; ``names``: those that they must have."""
        node = helper.make_node(op, [i.name if i else "" for i in inputs], [], domain=domain, **attrs)
        key = node.SerializeToString(deterministic=True) + bytes([count])
        if not names and key in self._seen:
            return self._seen[key]
        outputs = list(names) or [self.fresh(f"adjoint/{op}") for _ in range(count)]
        node.output.extend(outputs)
        node.name = self.fresh(f"adjoint/{op}/node")
        self.nodes.append(node)
        self._seen.setdefault(key, outputs)
        return outputs

    def op(self, op: str, first: Value, *others: Operand | None, dtype: int | None = None, **attrs: Any) -> Value:
        """The output of a node, of the type of its first input unless ``dtype`` says otherwise."""
        inputs = [first, *(None if o is None else self.like(o, first) for o in others)]
        return Value(self, self.ops(op, inputs, 1, **attrs)[0], first.dtype if dtype is None else dtype)

    def like(self, operand: Operand, value: Value) -> Value:
        """A number or an array as a constant of the type of ``value``."""
        return operand if isinstance(operand, Value) else self.constant(operand, value.dtype)

    def constant(self, value: Array | float | Sequence[int], dtype: int) -> Value:
        """A constant."""
        array = np.asarray(value).astype(helper.tensor_dtype_to_np_dtype(dtype))
        tensor = numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape))
        tensor.data_type = dtype
        key = b"constant" + tensor.SerializeToString(deterministic=True)
        if key not in self._seen:
            tensor.name = self.fresh("adjoint/constant")
            self.constants.append(tensor)
            self._seen[key] = [tensor.name]
        return Value(self, self._seen[key][0], dtype)

    def ints(self, values: Ints) -> Value:
        """A vector of integers."""
        return values if isinstance(values, Value) else self.constant(np.array(values, np.int64), INT64)

    def cast(self, value: Value, dtype: int) -> Value:
        """Another type of numbers."""
        return value if value.dtype == dtype else self.op("Cast", value, dtype=dtype, to=dtype)

    def shape(self, value: Value) -> Value:
        """The shape, as the model runs."""
        return self.op("Shape", value, dtype=INT64)

    def size(self, value: Value, axis: int) -> Value:
        """The size of one axis (a vector of one), as the model runs."""
        return self.op("Gather", self.shape(value), self.ints([axis]), axis=0)

    def reduce(self, value: Value, axes: Sequence[int], keepdims: bool, op: str = "ReduceSum") -> Value:
        """A reduction over axes; over none nothing happens."""
        if not axes:
            return value
        if self.opset >= (13 if op == "ReduceSum" else 18):
            return self.op(op, value, self.ints(axes), keepdims=int(keepdims))
        return self.op(op, value, keepdims=int(keepdims), axes=list(axes))

    def unsqueeze(self, value: Value, axes: Sequence[int]) -> Value:
        """Axes of size one, at those places of the result."""
        if not axes:
            return value
        if self.opset >= 13:
            return self.op("Unsqueeze", value, self.ints(axes))
        return self.op("Unsqueeze", value, axes=list(axes))

    def squeeze(self, value: Value, axes: Sequence[int]) -> Value:
        """Without axes of size one."""
        if not axes:
            return value
        if self.opset >= 13:
            return self.op("Squeeze", value, self.ints(axes))
        return self.op("Squeeze", value, axes=list(axes))

    def slice(self, value: Value, starts: Ints, ends: Ints, axes: Sequence[int], steps: Sequence[int] = ()) -> Value:
        """Slices; positions that the running model computes count from the front."""
        if self.opset >= 10:
            inputs = [self.ints(starts), self.ints(ends), self.ints(axes), *([self.ints(steps)] if steps else [])]
            return self.op("Slice", value, *inputs)
        if any(s != 1 for s in steps):
            raise NoAdjoint("needs opset 10, whose Slice has steps")
        if isinstance(starts, Value) or isinstance(ends, Value):
            for at, axis in enumerate(axes):
                one = [self.op("Gather", self.ints(v), self.ints([at]), axis=0) for v in (starts, ends)]
                value = self.op("Gather", value, self.arange(one[1] - one[0]) + one[0], axis=axis)
            return value
        return self.op("Slice", value, starts=list(starts), ends=list(ends), axes=list(axes))

    def arange(self, size: Value) -> Value:
        """The integers below ``size``, a vector of one."""
        if self.opset < 9:
            raise NoAdjoint("needs opset 9, which has NonZero")
        one = numpy_helper.from_array(np.ones(1, np.int64))
        return self.reshape(self.op("NonZero", self.op("ConstantOfShape", size, value=one)), [-1])

    def pad(self, value: Value, pads: Ints) -> Value:
        """Zeros around, at the begin of all axes and then at the end of all; negative: cut off."""
        if self.opset >= 11:
            return self.op("Pad", value, self.ints(pads))
        if isinstance(pads, Value):
            raise NoAdjoint("needs opset 11, whose Pad takes computed sizes")
        return self.op("Pad", value, pads=list(pads))

    def reshape(self, value: Value, shape: Ints) -> Value:
        """Another shape, as ``Reshape`` reads it."""
        return self.op("Reshape", value, self.ints(shape))

    def transpose(self, value: Value, perm: Sequence[int]) -> Value:
        """Axes in another order."""
        return value if list(perm) == list(range(len(perm))) else self.op("Transpose", value, perm=list(perm))

    def concat(self, values: Sequence[Value], axis: int) -> Value:
        """Values behind each other."""
        return values[0] if len(values) == 1 else self.op("Concat", *values, axis=axis)

    def expand(self, value: Value, shape: Value) -> Value:
        """Broadcast to a shape of as many axes, as the model runs."""
        if self.opset >= 8:
            return self.op("Expand", value, shape)
        return self.op("Tile", value, shape / self.shape(value))

    def zeros(self, shape: Value, dtype: int) -> Value:
        """Zeros of a shape, as the model runs."""
        if self.opset < 9:
            raise NoAdjoint("needs opset 9, which has ConstantOfShape")
        zero = numpy_helper.from_array(np.zeros(1, helper.tensor_dtype_to_np_dtype(dtype)))
        return self.op("ConstantOfShape", shape, dtype=dtype, value=zero)

    def zeros_like(self, value: Value) -> Value:
        """Zeros of the same shape."""
        return self.zeros(self.shape(value), value.dtype) if self.opset >= 9 else value - value

    def equal(self, a: Value, b: Operand) -> Value:
        """Where two are equal; ``Equal`` compares floating point since opset 11."""
        if self.opset >= 11 or a.dtype == INT64:
            return self.op("Equal", a, b, dtype=BOOL)
        return ~self.op("Or", a > b, a < b)

    def sign(self, value: Value) -> Value:
        """-1, 0 or 1."""
        if self.opset >= 9:
            return self.op("Sign", value)
        return self.cast(value > 0.0, value.dtype) - self.cast(value < 0.0, value.dtype)

    def total(self, values: Sequence[Value]) -> Value:
        """The sum of values of one shape."""
        result = values[0]
        for value in values[1:]:
            result = result + value
        return result
