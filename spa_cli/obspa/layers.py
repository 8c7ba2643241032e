"""Linear layers of a graph: ``y = W x + b``, what they read, what follows them, and what they should give.

In the paper's symbols: ``x`` (p,) is the input of the layer (im2col patches, a channel is a block of coordinates),
``W`` (o, p) its weight, ``y`` (o,) its output. A BatchNorm that follows is folded for the computation only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from spa_cli.graph.model import FLOAT_TYPES, QUANTIZED_TYPES, Array, Graph, Node
from spa_cli.graph.shapes import Shapes
from spa_cli.obspa.epilogue import Epilogue, epilogue_of
from spa_cli.obspa.integer import float_view
from spa_cli.obspa.parameter_path import ParameterPath, Read, find_parameter, readers
from spa_cli.obspa.windows import output_size, patches
from spa_cli.operators.contraction import Contraction, find_contraction

ShapeOf = Callable[[str], tuple[int, ...]]
_CONVS = frozenset({"Conv", "FusedConv", "ConvInteger", "QLinearConv"})
_GEMMS = frozenset({"Gemm", "FusedGemm"})
_INTEGER = frozenset({"ConvInteger", "QLinearConv", "MatMulInteger"})
INTEGERS = "it computes with integers"
RECURRENT = frozenset({"LSTM", "GRU", "RNN"})


@dataclass(frozen=True, eq=False)
class Layer:
    """One contraction of an activation ``x`` with a constant ``operand``, which is ``stored`` somewhere.

    ``kernel``: window of a convolution. ``terms``: the axes of any other layer (not of a ConvTranspose). ``alpha``
    multiplies the product, ``beta`` the bias. ``zeros``: zero points of x and operand of an integer operator.
    ``unfit``: why the weight can't be refitted, "" if it can.
    """

    node: Node
    x: str
    operand: str
    stored: ParameterPath
    around: Epilogue
    kernel: tuple[int, ...] = ()
    terms: Contraction | None = None
    alpha: float = 1.0
    beta: float = 1.0
    zeros: tuple[str, str] = ("", "")
    unfit: str = ""

    @property
    def key(self) -> str:
        """The first tensor the node gives."""
        return next(o for o in self.node.outputs if o)

    @property
    def conv(self) -> bool:
        """Whether it is a convolution (not a transposed one)."""
        return self.node.op in _CONVS

    @property
    def transposed(self) -> bool:
        """Whether it is a transposed convolution: solved before its overlapping windows are added."""
        return self.node.op == "ConvTranspose"

    @property
    def recurrent(self) -> bool:
        """Whether it is a recurrent layer: solved for what the gates get from the input."""
        return self.node.op in RECURRENT

    @property
    def reads_along(self) -> int:
        """Axis of the input channels, of a layer that has one."""
        return self.terms.x.index(self.terms.inner[0]) if self.terms else 1

    @property
    def gives_along(self) -> int:
        """Axis of the output channels, of a layer that has one."""
        return self.terms.y.index(self.terms.outer[0]) if self.terms else 1

    def groups(self, x: tuple[int, ...], operand: tuple[int, ...]) -> int:
        """Independent problems, for these shapes of input and operand."""
        if self.conv:
            # a cut changes how many there are; where shapes can't tell the channels, it is what the node says
            return x[1] // operand[1] or int(self.node.attr("group", 1))
        if self.transposed:
            return int(self.node.attr("group", 1))
        assert self.terms is not None
        return math.prod(operand[self.terms.w.index(label)] for label in self.terms.groups)

    def weight(self, read: Read, shape_of: ShapeOf) -> Array | None:
        """Values of the operand (less its zero point), ``None`` if they aren't constant."""
        value = self.stored.value(read, shape_of)
        zero = read(self.zeros[1]) if self.zeros[1] else None
        if value is None or zero is None:
            return value
        return value - zero.astype(np.float64).reshape((-1,) + (1,) * (value.ndim - 1) if self.conv else (-1,))

    def matrix(self, operand: Array, groups: int) -> Array:
        """``W`` as (g, o, p): one matrix per group."""
        if self.conv:
            return operand.reshape(groups, operand.shape[0] // groups, -1)
        if self.transposed:
            # before the overlapping windows are added: o = (M/g, *k), p = C/g
            return np.swapaxes(operand.reshape(groups, operand.shape[0] // groups, -1), 1, 2)
        assert self.terms is not None
        return self.alpha * self.terms.matrix(operand)

    def restore(self, matrix: Array, shape: tuple[int, ...]) -> Array:
        """The operand of that ``shape`` whose ``matrix`` this is."""
        if self.conv:
            return matrix.reshape(shape)
        if self.transposed:
            return np.swapaxes(matrix, 1, 2).reshape(shape)
        assert self.terms is not None
        return self.terms.restore(matrix / self.alpha, shape)

    def positions(self, x: tuple[int, ...]) -> int:
        """Positions per sample, for an input of shape ``x``."""
        if self.conv:
            return math.prod(output_size(self.node, x[2:], self.kernel))
        if self.transposed:
            return math.prod(x[2:])
        assert self.terms is not None
        return math.prod(x[self.terms.x.index(label)] for label in self.terms.places[1:])

    def inputs_at(self, x: Array, rows: Array | None, groups: int, zero: Array | None = None) -> Array:
        """Inputs of the contraction at the sampled positions (all if ``None``): (g, samples * positions, p)."""
        if zero is not None:
            x = x.astype(np.float32) - zero.astype(np.float32)
        if self.conv:
            taken = patches(self.node, x, self.kernel, rows)
            return np.moveaxis(taken.reshape(len(x) * taken.shape[1], groups, -1), 1, 0)
        if self.transposed:
            flat = x.reshape(*x.shape[:2], -1)
            taken = flat if rows is None else flat[:, :, rows]
            return np.moveaxis(np.moveaxis(taken, 2, 1).reshape(-1, groups, x.shape[1] // groups), 1, 0)
        assert self.terms is not None
        return _sampled(self.terms.rows(x, True), rows)

    def outputs_at(self, y: Array, rows: Array | None, groups: int) -> Array:
        """A tensor shaped like the output at the sampled positions: (g, samples * positions, o)."""
        if self.conv:
            flat = y.reshape(*y.shape[:2], -1)
            taken = np.moveaxis(flat if rows is None else flat[:, :, rows], 2, 1)
            return np.moveaxis(taken.reshape(len(y) * taken.shape[1], groups, -1), 1, 0)
        assert self.terms is not None
        return _sampled(self.terms.rows(y, False), rows)

    def spread(self, rows: Array, shape: tuple[int, ...]) -> Array:
        """The output of that ``shape`` whose ``outputs_at`` all positions these ``rows`` (g, n * positions, o) are."""
        if self.conv:
            split = rows.reshape(len(rows), shape[0], math.prod(shape[2:]), rows.shape[2])
            return np.ascontiguousarray(split.transpose(1, 0, 3, 2)).reshape(shape)
        assert self.terms is not None
        return self.terms.spread(rows, shape)

    def takes(self, x: Array) -> bool:
        """Whether an input has the rank that the graph declares (some files declare wrong ones)."""
        return self.terms is None or np.ndim(x) == len(self.terms.x)

    def gives(self, y: Array) -> bool:
        """Whether a tensor behind the layer has the rank of its output (a bias of higher rank raises it)."""
        rank = len(self.terms.y) if self.terms else len(self.kernel) + 2
        return self.transposed or np.ndim(y) == rank

    def samples(self, x: tuple[int, ...]) -> int:
        """Samples in an input of shape ``x``."""
        if self.terms is None:
            return x[0]
        if self.recurrent:
            # steps come first, unless the node says otherwise
            return x[0 if self.node.attr("layout", 0) else 1]
        return x[self.terms.x.index(self.terms.places[0])] if self.terms.places else 1


def _sampled(value: Array, rows: Array | None) -> Array:
    taken = value if rows is None else value[:, :, rows]
    return taken.reshape(len(value), -1, value.shape[-1])


def sample_rows(count: int, limit: int, rng: np.random.Generator) -> Array | None:
    """Random output positions to look at per sample (flat indices), ``None`` for all of them."""
    return None if count <= limit else np.sort(rng.choice(count, limit, replace=False))


def find_layers(graph: Graph, shapes: Shapes) -> list[Layer]:
    """Layers with a constant weight, in topological order."""
    found = (_layer(graph, shapes, node) for node in graph.nodes)
    return [layer for layer in found if layer is not None]


def _layer(graph: Graph, shapes: Shapes, node: Node) -> Layer | None:
    if not _seen_through(graph, node):
        return None
    if node.op in (*_CONVS, "ConvTranspose"):
        weight_at = 3 if node.op == "QLinearConv" else 1
        size = graph_shape(graph, shapes, node.inputs[weight_at])
        bias = "" if node.op in _INTEGER else node.input(2)
        if not size or 0 in size:
            return None
        transposed = node.op == "ConvTranspose"
        channel = 0 if transposed else len(size) - 1
        made = _made(graph, node, 0, weight_at, bias, size[0], channel)
        return made and replace(made, kernel=() if transposed else size[2:])
    if node.op in RECURRENT:
        made = _made(graph, node, 0, 1, "", 0, 0)
        return made and replace(made, terms=Contraction(("t", "b", "i"), ("d", "g", "i"), ("t", "d", "b", "h")))
    if len(node.inputs) < 2 or node.op not in (*_GEMMS, "MatMul", "FusedMatMul", "MatMulInteger", "Einsum"):
        return None
    for at in (1, 0):
        made = _dense(graph, shapes, node, at)
        if made is not None:
            return made
    return None


def _seen_through(graph: Graph, node: Node) -> bool:
    """Whether the node's output tells what its product was, but where a fused activation is flat."""
    added = node.input(3) if node.op == "FusedConv" else ""
    return node.attr("activation", "") in ("", "Relu", "Clip") and added not in graph.parameters


def _dense(graph: Graph, shapes: Shapes, node: Node, weight_at: int) -> Layer | None:
    given = shapes.shape.get(node.inputs[1 - weight_at]) or ()
    size = graph_shape(graph, shapes, node.inputs[weight_at])
    terms = find_contraction(node, weight_at, given, size) if given and size and all(size) else None
    if terms is None:
        return None
    width = math.prod(size[terms.w.index(label)] for label in terms.outer)
    wide = [label for label in terms.outer if label in terms.y]
    channel = len(terms.y) - terms.y.index(wide[0]) if len(wide) == 1 and not terms.groups else 0
    alpha, beta = float(node.attr("alpha", 1.0)), float(node.attr("beta", 1.0))
    bias = node.input(2) if node.op in _GEMMS and beta else ""
    # rows of the matrix are channels of the norm, one to one
    normed = not terms.groups and terms.outer == wide and len(wide) == 1 and terms.y.index(wide[0]) == 1
    made = _made(graph, node, 1 - weight_at, weight_at, bias, width, channel, normed)
    return made and replace(made, terms=terms, alpha=alpha or 1.0, beta=beta)


def graph_shape(graph: Graph, shapes: Shapes, name: str) -> tuple[int, ...]:
    """Shape of a tensor of the dense graph (0 where data decides)."""
    return graph.shape(name) if name in graph.parameters else tuple(int(d or 0) for d in shapes.shape.get(name) or ())


def _made(
    graph: Graph, node: Node, x_at: int, weight_at: int, bias: str, width: int, channel: int, normed: bool = True
) -> Layer | None:
    x, operand = node.inputs[x_at], node.inputs[weight_at]
    view = float_view(graph, node) if node.op in _INTEGER and weight_at == 1 else None
    stored = view.stored if view else find_parameter(graph, operand)
    tensor = graph.parameters.get(stored.name)
    if tensor is None or x in graph.parameters or tensor.data_type not in FLOAT_TYPES | QUANTIZED_TYPES:
        return None
    unfit = ""
    if node.op in _INTEGER and view is None:
        unfit = INTEGERS
    elif any(len(readers(graph, n)) > 1 for n in (stored.name, operand)):
        unfit = "its weight is shared"
    elif stored.name in graph.hidden:
        unfit = "its weight is sparse"
    if node.op in RECURRENT:
        around = Epilogue(next(o for o in node.outputs if o))
    else:
        around = epilogue_of(graph, node, bias, width, channel, normed, view.after if view else ())
    zeros = ("", "") if view else _zeros(node)
    return Layer(node, view.x if view else x, operand, stored, around, unfit=unfit, zeros=zeros)


def _zeros(node: Node) -> tuple[str, str]:
    at = {"QLinearConv": (2, 5), "ConvInteger": (2, 3), "MatMulInteger": (2, 3)}.get(node.op)
    return (node.input(at[0]), node.input(at[1])) if at else ("", "")
