"""Weights as they are stored: a parameter, and what stands between it and the node that reads it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from spa_cli.graph.known import Read
from spa_cli.graph.model import Array, Graph, Node

_PLAIN = frozenset({"Cast", "Identity"})
_FORMS = frozenset({"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten"})
_SCALED = frozenset({"Mul", "Div"})


@dataclass(frozen=True, eq=False)
class ParameterPath:
    """The parameter ``name`` (half precision, transposed, quantised ...), the ``chain`` of nodes up to its reader.

    ``factors``: what each of them multiplies by or divides by, if it does. ``scale`` and ``zero``: of integers that the
    reader computes with as they are; the value is then what they stand for. A scale per channel lies along ``axis``.
    """

    name: str
    chain: tuple[Node, ...] = ()
    scale: str = ""
    zero: str = ""
    axis: int = 0
    factors: tuple[str, ...] = ()

    @property
    def plain(self) -> bool:
        """Whether the reader gets the numbers that are stored, wherever they lie: neither scaled nor shifted."""
        return not self.scale and all(node.op in _PLAIN | _FORMS for node in self.chain)

    def value(self, read: Read, shape_of: Callable[[str], tuple[int, ...]]) -> Array | None:
        """What the reader gets, in float64; ``None`` if the parameter is none."""
        stored = read(self.name)
        if stored is None:
            return None
        value = stored.astype(np.float64)
        for at, node in enumerate(self.chain):
            if node.op == "Transpose":
                value = value.transpose(node.attr("perm"))
            elif node.op in _FORMS:
                value = value.reshape(shape_of(node.outputs[0]))
            elif node.op == "DequantizeLinear":
                scale, zero = _node_scale(node, read, value.ndim)
                value = (value - zero) * scale
            elif node.op in _SCALED:
                value = value * _factor(node, self.factors[at], read)
        if self.scale:
            scale, zero = _scale(self.scale, self.zero, self.axis, read, value.ndim)
            value = (value - zero) * scale
        return value

    def back(self, value: Array, read: Read) -> Array:
        """The parameter for which the reader gets ``value``; rounded to the nearest there is if it is quantised."""
        stored = read(self.name)
        assert stored is not None
        if self.scale:
            scale, zero = _scale(self.scale, self.zero, self.axis, read, value.ndim)
            value = value / np.where(scale == 0, 1, scale) + zero
        for at, node in reversed(list(enumerate(self.chain))):
            if node.op == "Transpose":
                perm = node.attr("perm") or list(range(value.ndim))[::-1]
                value = value.transpose(np.argsort(perm))
            elif node.op in _FORMS:
                shape = stored.shape
                for before in self.chain[:at]:
                    if before.op == "Transpose":
                        shape = tuple(shape[i] for i in before.attr("perm") or range(len(shape))[::-1])
                value = value.reshape(shape)
            elif node.op == "DequantizeLinear":
                scale, zero = _node_scale(node, read, value.ndim)
                value = value / np.where(scale == 0, 1, scale) + zero
            elif node.op in _SCALED:
                factor = _factor(node, self.factors[at], read)
                value = value / np.where(factor == 0, 1, factor)
        if stored.dtype.kind in "iu":
            limits = np.iinfo(stored.dtype)
            value = np.clip(np.rint(value), limits.min, limits.max)
        return value.astype(stored.dtype)


def find_parameter(graph: Graph, name: str) -> ParameterPath:
    """The parameter behind ``name``, as far as its only reader is a node that ``ParameterPath`` follows."""
    chain: list[tuple[Node, str]] = []
    end = name
    while name not in graph.parameters:
        node = graph.producers.get(name)
        if node is None or not _followed(graph, node) or len(graph.readers(name)) > 1:
            break
        # a second reshape would need the shape between them
        if node.op in _FORMS - {"Transpose"} and any(n.op in _FORMS - {"Transpose"} for n, _ in chain):
            break
        at = _stored_at(graph, node)
        chain.append((node, node.inputs[1 - at] if node.op in _SCALED else ""))
        name = node.inputs[at]
    path = ParameterPath(name, tuple(n for n, _ in chain[::-1]), factors=tuple(f for _, f in chain[::-1]))
    return path if name not in graph.parameters or _keeps_size(graph, path) else ParameterPath(end)


def _followed(graph: Graph, node: Node) -> bool:
    if node.domain:
        return False
    if node.op == "DequantizeLinear":
        return not node.attr("block_size", 0) and all(i in graph.parameters for i in node.inputs[1:] if i)
    if node.op in _SCALED:
        return any(i in graph.parameters for i in node.inputs[node.op == "Div" :])
    return node.op in _PLAIN or node.op in _FORMS


def _stored_at(graph: Graph, node: Node) -> int:
    """Which input comes from the parameter; of a product of two parameters the larger, the other is its scale."""
    if node.op != "Mul":
        return 0
    first, second = (math.prod(graph.shape(i)) if i in graph.parameters else math.inf for i in node.inputs)
    return int(second > first)


def _keeps_size(graph: Graph, path: ParameterPath) -> bool:
    """Whether no scale makes the weight larger than the parameter."""
    shape: tuple[int, ...] | None = graph.shape(path.name)
    for node, factor in zip(path.chain, path.factors, strict=True):
        if node.op == "Transpose" and shape is not None:
            shape = tuple(shape[i] for i in node.attr("perm") or range(len(shape))[::-1])
        elif node.op in _FORMS:
            shape = None
        if not factor:
            continue
        own = graph.shape(factor)
        if math.prod(own) > 1 and (shape is None or len(own) > len(shape) or np.broadcast_shapes(shape, own) != shape):
            return False
    return True


def _factor(node: Node, name: str, read: Read) -> Array:
    """What a scaled weight is multiplied by."""
    found = read(name)
    assert found is not None
    factor = found.astype(np.float64)
    return 1 / np.where(factor == 0, np.inf, factor) if node.op == "Div" else factor


def _node_scale(node: Node, read: Read, rank: int) -> tuple[Array, Array]:
    return _scale(node.inputs[1], node.input(2), int(node.attr("axis", 1)), read, rank)


def _scale(name: str, zero_name: str, axis: int, read: Read, rank: int) -> tuple[Array, Array]:
    """Scale and zero point, shaped to be broadcast."""
    scale, zero = read(name), read(zero_name) if zero_name else None
    assert scale is not None
    line = [-1 if i == axis % rank else 1 for i in range(rank)]
    zero_point = np.zeros(1) if zero is None else zero.astype(np.float64)
    shapes = [line if v.size > 1 else [1] * rank for v in (scale, zero_point)]
    return scale.astype(np.float64).reshape(shapes[0]), zero_point.reshape(shapes[1])
