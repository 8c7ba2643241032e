"""Operators on integers, written out as operators on the numbers that these stand for."""

from __future__ import annotations

from typing import Any

import numpy as np

from spa_cli.adjoints.emitter import NoAdjoint, Value
from spa_cli.adjoints.expand import written_out
from spa_cli.adjoints.table import Call, adjoint_of
from spa_cli.graph.model import Array

FLOAT, INT32 = 1, 6


def number(c: Call, at: int, scale: int, zero: int, axis: int = -1) -> Value:
    """An input as the number it stands for, by the inputs with its scale and zero point, which lie along ``axis``."""
    shifted = offset(c, at, zero, axis)
    return shifted * _along(c, c.x(scale), scale, c.rank(at), axis)


def offset(c: Call, at: int, zero: int, axis: int = -1) -> Value:
    """An input less its zero point, if it has one."""
    value = c.emit.cast(c.x(at), FLOAT)
    if not c.has(zero):
        return value
    return value - _along(c, c.emit.cast(c.x(zero), FLOAT), zero, c.rank(at), axis)


def _along(c: Call, value: Value, index: int, rank: int, axis: int) -> Value:
    """A scale or a zero point per channel, ready to broadcast."""
    if c.rank(index) == 0 or c.fixed(index) == [1]:
        return value
    if c.rank(index) > 1:
        raise NoAdjoint("it has scales in more than one axis")
    return c.emit.unsqueeze(value, list(range(1, rank - axis % rank)))


def quantised(c: Call, value: Value, scale: int, zero: int) -> Value:
    """The integer that stands for a number, in the type of the zero point."""
    known = c.has(zero)
    dtype = c.x(zero).dtype if known else 2
    return c.emit.op("QuantizeLinear", value, c.x(scale), c.x(zero) if known else None, dtype=dtype)


def _attributes(c: Call, *names: str) -> dict[str, Any]:
    return {n: c.node.attr(n) for n in names if c.node.attr(n) is not None}


_WINDOW = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")


@written_out("QLinearConv", "")
@written_out("QLinearConv")
def qlinear_conv(c: Call) -> list[Value]:
    """A convolution; its bias is in the scale of the products."""
    if c.node.attr("channels_last", 0):
        raise NoAdjoint("it has channels last")
    bias = None
    if c.has(8):
        bias = c.emit.cast(c.x(8), FLOAT) * (c.x(1) * c.x(4))
    y = c.emit.op("Conv", number(c, 0, 1, 2, 1), number(c, 3, 4, 5, 0), bias, **_attributes(c, *_WINDOW))
    return [quantised(c, y, 6, 7)]


@written_out("QLinearMatMul", "")
def qlinear_matmul(c: Call) -> list[Value]:
    """A product."""
    return [quantised(c, number(c, 0, 1, 2, -2) @ number(c, 3, 4, 5), 6, 7)]


@written_out("QGemm")
def qgemm(c: Call) -> list[Value]:
    """A product and a bias in the scale of the products; without a scale of its own its result is a number."""
    e, trans_b = c.emit, int(c.node.attr("transB", 0))
    a, b = number(c, 0, 1, 2), number(c, 3, 4, 5, 0 if trans_b else 1)
    y = e.op(
        "Gemm", a, b, e.constant([0], FLOAT), transA=int(c.node.attr("transA", 0)), transB=trans_b,
        alpha=float(c.node.attr("alpha", 1.0)),
    )  # fmt: skip
    if c.has(6):
        y = y + e.cast(c.x(6), FLOAT) * (c.x(1) * c.x(4)) * float(c.node.attr("alpha", 1.0))
    return [quantised(c, y, 7, 8) if c.has(7) else y]


@written_out("QLinearAdd QLinearMul")
def qlinear_pair(c: Call) -> list[Value]:
    """Of two operands."""
    a, b = number(c, 0, 1, 2), number(c, 3, 4, 5)
    return [quantised(c, a + b if c.node.op == "QLinearAdd" else a * b, 6, 7)]


@written_out("QLinearSigmoid QLinearLeakyRelu")
def qlinear_activation(c: Call) -> list[Value]:
    """Of one."""
    y = c.emit.op(c.node.op.removeprefix("QLinear"), number(c, 0, 1, 2), **_attributes(c, "alpha"))
    return [quantised(c, y, 3, 4)]


@written_out("QLinearGlobalAveragePool QLinearAveragePool")
def qlinear_pool(c: Call) -> list[Value]:
    """A mean over places."""
    if c.node.attr("channels_last", 0):
        raise NoAdjoint("it has channels last")
    more = _attributes(c, *_WINDOW, "ceil_mode", "count_include_pad")
    return [quantised(c, c.emit.op(c.node.op.removeprefix("QLinear"), number(c, 0, 1, 2), **more), 3, 4)]


@written_out("QLinearConcat")
def qlinear_concat(c: Call) -> list[Value]:
    """Of operands with scales of their own."""
    parts = [number(c, i, i + 1, i + 2) for i in range(2, len(c.node.inputs), 3)]
    return [quantised(c, c.emit.concat(parts, int(c.node.attr("axis"))), 0, 1)]


@written_out("MatMulInteger", "")
def matmul_integer(c: Call) -> list[Value]:
    """A product without scales, which stays an integer."""
    return [c.emit.cast(offset(c, 0, 2, -2) @ offset(c, 1, 3), INT32)]


@written_out("ConvInteger", "")
def conv_integer(c: Call) -> list[Value]:
    """A convolution without scales, which stays an integer."""
    y = c.emit.op("Conv", offset(c, 0, 2, 1), offset(c, 1, 3, 0), **_attributes(c, *_WINDOW))
    return [c.emit.cast(y, INT32)]


@written_out("MatMulIntegerToFloat")
def matmul_integer_to_float(c: Call) -> list[Value]:
    """A product of integers as a number."""
    y = number(c, 0, 2, 4, -2) @ number(c, 1, 3, 5)
    return [y + c.x(6) if c.has(6) else y]


@written_out("DynamicQuantizeMatMul")
def dynamic_quantize_matmul(c: Call) -> list[Value]:
    """A product with weights that are integers; the other operand is rounded in the range it has."""
    e = c.emit
    names = e.ops("DynamicQuantizeLinear", [c.x(0)], 3)
    q, scale, zero = (Value(e, n, t) for n, t in zip(names, (2, FLOAT, 2), strict=True))
    y = ((e.cast(q, FLOAT) - e.cast(zero, FLOAT)) * scale) @ number(c, 1, 2, 3)
    return [y + c.x(4) if c.has(4) else y]


@written_out("MatMulNBits")
def matmul_nbits(c: Call) -> list[Value]:
    """A product with weights of few bits, several to a byte, which are constants; their scales need not be."""
    e, node = c.emit, c.node
    bits, block = int(node.attr("bits", 4)), int(node.attr("block_size"))
    k, n = int(node.attr("K")), int(node.attr("N"))
    packed, zeros = c.sizes.array(node.inputs[1]), c.sizes.array(node.input(3)) if c.has(3) else None
    blocks = -(-k // block)
    if packed is None or (c.has(3) and (zeros is None or zeros.dtype != np.uint8)) or c.has(4) or bits not in (2, 4, 8):
        raise NoAdjoint("its weights are computed, in an order of their own, or have zero points that are no integers")
    integers = unpacked(packed.reshape(n, -1), bits)[:, : blocks * block].reshape(n, blocks, block)
    if zeros is None:
        offset = np.full((n, blocks), 2 ** (bits - 1))
    else:
        offset = unpacked(zeros.reshape(n, -1), bits)[:, :blocks]
    scaled = e.constant(integers - offset[..., None], c.x().dtype) * e.reshape(c.x(2), [n, blocks, 1])
    weight = e.slice(e.reshape(scaled, [n, -1]), [0], [k], [1])
    y = c.x(0) @ e.transpose(weight, [1, 0])
    return [y + c.x(5) if c.has(5) else y]


def unpacked(rows: Array, bits: int) -> Array:
    """Bytes as the numbers of ``bits`` bits in them, the lowest first: (n, bytes) to (n, bytes * 8 / bits)."""
    shifts = np.arange(0, 8, bits)
    return np.asarray((rows.astype(np.int64)[..., None] >> shifts & (2**bits - 1)).reshape(len(rows), -1))


@adjoint_of("DynamicQuantizeLinear", inputs=(0,), outputs=None, quantises=True)
def dynamic_quantize(c: Call) -> Value:
    """By the scale, which with the range counts as constant: nothing is cut off."""
    if c.cotangents[0] is None:
        return c.emit.zeros_like(c.x())
    return c.g / c.y(1)
