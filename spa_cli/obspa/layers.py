"""Linear layers of a graph: ``y = W x + b``, what they read, what follows them, and what they should give.

In the paper's symbols: ``x`` (p,) is the input of the layer (im2col patches, a channel is a block of coordinates),
``W`` (o, p) its weight, ``y`` (o,) its output. A BatchNorm that follows is folded for the computation only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from spa_cli.graph.guard import guarded
from spa_cli.graph.known import Read
from spa_cli.graph.model import FLOAT_TYPES, QUANTIZED_TYPES, Array, Graph, Node
from spa_cli.graph.shapes import Shapes
from spa_cli.obspa.blocks import Blocks, blocks_of
from spa_cli.obspa.epilogue import Epilogue, epilogue_of
from spa_cli.obspa.integer import FloatView, float_view
from spa_cli.obspa.parameter_path import ParameterPath, find_parameter
from spa_cli.obspa.unfit import Unfit
from spa_cli.obspa.windows import output_size, patches
from spa_cli.operators import record_of
from spa_cli.operators.contraction import Contraction, seen_from
from spa_cli.operators.contracts import Scales, ShapeOf
from spa_cli.operators.labelled import added_in, inner_range
from spa_cli.operators.labels import axis_of, factors, parse
from spa_cli.operators.registry import MICROSOFT, contracts_of

PACKED = (MICROSOFT, "MatMulNBits")
INTEGERS = "it computes with integers"
SHARED = "its weight is shared"


@dataclass(frozen=True, eq=False)
class Layer:
    """One contraction of an activation ``x`` with a constant ``operand``, which is ``stored`` somewhere.

    ``terms``: the labels of their axes. ``kernel``: window of a convolution. ``alpha`` multiplies the product, ``beta``
    the bias. ``zeros``: zero points of x and operand of an integer operator. ``unfit``: why the weight can't be
    refitted, "" if it can. ``siblings``: keys of all layers that read the same weight and are fitted together,
    ``common``: whether they have one bias, too.
    """

    node: Node
    x: str
    operand: str
    stored: ParameterPath
    around: Epilogue
    terms: Contraction
    kernel: tuple[int, ...] = ()
    alpha: float = 1.0
    beta: float = 1.0
    zeros: tuple[str, str] = ("", "")
    unfit: str = ""
    siblings: tuple[str, ...] = ()
    common: bool = False

    @property
    def key(self) -> str:
        """The first tensor the node gives."""
        return next(o for o in self.node.outputs if o)

    @property
    def conv(self) -> bool:
        """Whether it is a convolution (not a transposed one)."""
        return self.terms.slides

    @property
    def transposed(self) -> bool:
        """Whether it is a transposed convolution: solved before its overlapping windows are added."""
        return self.terms.overlaps

    @property
    def recurrent(self) -> bool:
        """Whether it is a recurrent layer: solved for what the gates get from the input."""
        return _recurs(self.node)

    @property
    def packed(self) -> int:
        """How many inputs share a scale in a weight of a few bits, 0 of any other."""
        return self.stored.size if isinstance(self.stored, Blocks) else 0

    @property
    def fused(self) -> bool:
        """Whether the node itself adds a tensor to the product or applies an activation to it."""
        return bool(added_in(self.node)) or bool(self.node.attr("activation", ""))

    @property
    def reads_along(self) -> int:
        """Axis of the input channels, of a layer that has one."""
        return axis_of(self.terms.x, self.terms.inner[0])

    @property
    def gives_along(self) -> int:
        """Axis of the output channels, of a layer that has one."""
        return axis_of(self.terms.y, self.terms.outer[0])

    def groups(self, x: tuple[int, ...], operand: tuple[int, ...]) -> int:
        """Independent problems, for these shapes of input and operand."""
        # a cut changes how many there are; where shapes can't tell, it is what the node says
        if self.packed:
            return 1
        return self.terms.count(x, operand) or int(self.node.attr("group", 1))

    def weight(self, read: Read, shape_of: ShapeOf) -> Array | None:
        """Values of the operand (less its zero point), ``None`` if they aren't constant."""
        value = self.stored.value(read, shape_of)
        zero = read(self.zeros[1]) if self.zeros[1] else None
        if value is None or zero is None:
            return value
        return value - zero.astype(np.float64).reshape((-1,) + (1,) * (value.ndim - 1) if self.conv else (-1,))

    def matrix(self, operand: Array, groups: int) -> Array:
        """``W`` as (g, o, p): one matrix per group."""
        return self.alpha * self.terms.matrix(operand, groups)

    def restore(self, matrix: Array, shape: tuple[int, ...]) -> Array:
        """The operand of that ``shape`` whose ``matrix`` this is."""
        return self.terms.restore(matrix / self.alpha, shape)

    @property
    def batch_first(self) -> bool:
        """Whether samples lie along the first axis of what it reads and gives, position by position."""
        if self.transposed or self.recurrent:
            return False
        t = self.terms
        return self.conv or (bool(t.places) and t.x[0] == t.y[0] == t.places[0])

    def positions(self, x: tuple[int, ...]) -> int:
        """Positions per sample, for an input of shape ``x``."""
        if self.conv:
            return math.prod(output_size(self.node, x[2:], self.kernel))
        return math.prod(x[self.terms.x.index(label)] for label in self.terms.places[1:])

    def inputs_at(self, x: Array, rows: Array | None, groups: int, zero: Array | None = None) -> Array:
        """Inputs of the contraction at the sampled positions (all if ``None``): (g, samples * positions, p).

        ``rows``: the same of every sample, or its own of each (samples, positions).
        """
        if rows is not None and rows.ndim == 2:
            each = zip(np.split(x, len(x)), rows, strict=True)
            return np.concatenate([self.inputs_at(one, own, groups, zero) for one, own in each], 1)
        if zero is not None:
            x = x.astype(np.float32) - zero.astype(np.float32)
        if self.conv:
            taken = patches(self.node, x, self.kernel, rows)
            return np.moveaxis(taken.reshape(len(x) * taken.shape[1], groups, -1), 1, 0)
        if self.transposed:
            flat = x.reshape(*x.shape[:2], -1)
            taken = flat if rows is None else flat[:, :, rows]
            return np.moveaxis(np.moveaxis(taken, 2, 1).reshape(-1, groups, x.shape[1] // groups), 1, 0)
        return _sampled(self.terms.rows(x, True), rows)

    def outputs_at(self, y: Array, rows: Array | None, groups: int) -> Array:
        """A tensor shaped like the output at the sampled positions: (g, samples * positions, o)."""
        if rows is not None and rows.ndim == 2:
            each = zip(np.split(y, len(y)), rows, strict=True)
            return np.concatenate([self.outputs_at(one, own, groups) for one, own in each], 1)
        if self.conv:
            flat = y.reshape(*y.shape[:2], -1)
            taken = np.moveaxis(flat if rows is None else flat[:, :, rows], 2, 1)
            return np.moveaxis(taken.reshape(len(y) * taken.shape[1], groups, -1), 1, 0)
        return _sampled(self.terms.rows(y, False), rows)

    def spread(self, rows: Array, shape: tuple[int, ...]) -> Array:
        """The output of that ``shape`` whose ``outputs_at`` all positions these ``rows`` (g, n * positions, o) are."""
        if self.conv:
            split = rows.reshape(len(rows), shape[0], math.prod(shape[2:]), rows.shape[2])
            return np.ascontiguousarray(split.transpose(1, 0, 3, 2)).reshape(shape)
        return self.terms.spread(rows, shape)

    def takes(self, x: Array) -> bool:
        """Whether an input has the rank that the graph declares (some files declare wrong ones)."""
        return np.ndim(x) == len(self.terms.x)

    def gives(self, y: Array) -> bool:
        """Whether a tensor behind the layer has the rank of its output (a bias of higher rank raises it)."""
        return self.transposed or np.ndim(y) == len(self.terms.y)

    def samples(self, x: tuple[int, ...]) -> int:
        """Samples in an input of shape ``x``."""
        # of a recurrent layer steps may come first
        label = "b" if self.recurrent else next(iter(self.terms.places), "")
        return x[self.terms.x.index(label)] if label else 1


def _sampled(value: Array, rows: Array | None) -> Array:
    taken = value if rows is None else value[:, :, rows]
    return taken.reshape(len(value), -1, value.shape[-1])


def find_layers(graph: Graph, shapes: Shapes) -> list[Layer]:
    """Layers with a constant weight, in topological order."""
    found = (find_layer(graph, shapes, node) for node in graph.nodes)
    return [layer for layer in found if layer is not None]


def find_layer(graph: Graph, shapes: Shapes, node: Node) -> Layer | None:
    """The layer that a node is, ``None`` if it multiplies by no constant weight."""
    if (node.domain, node.op) == PACKED and not node.faults:
        try:
            with guarded(node, Unfit):
                return _packed(graph, shapes, node)
        except Unfit:
            return None
    contracts = record_of(node).contracts
    if contracts is None or inner_range(node) is None or added_in(node) in graph.parameters:
        return None
    names = contracts.inputs(node)
    candidates = (_seen_from(graph, shapes, node, at) for at in contracts.fitted if len(names) == 2)
    try:
        with guarded(node, Unfit):
            return next((layer for layer in candidates if layer is not None), None)
    except Unfit:
        return None


def _packed(graph: Graph, shapes: Shapes, node: Node) -> Layer | None:
    """A product with a weight of a few bits, whose operand stands for a matrix (outputs, inputs)."""
    given, stored = shapes.shape.get(node.inputs[0]), blocks_of(graph, node)
    if not given or stored is None or node.inputs[0] in graph.parameters:
        return None
    size = (graph.shape(stored.name)[0], stored.inputs)
    terms = seen_from(parse("...k,nk->...n", (len(given), 2)), 1, size, given)
    if terms is None:
        return None
    shared = any(len(graph.readers(n)) > 1 for n in (stored.name, stored.scale, stored.zero) if n)
    unfit = "its packed weight is shared" if shared else "its weight is sparse" if stored.name in graph.hidden else ""
    around = _around(graph, node, terms, size, node.input(5), None)
    return Layer(node, node.inputs[0], stored.name, stored, around, terms, unfit=unfit)


def _recurs(node: Node) -> bool:
    contracts = record_of(node).contracts
    return contracts is not None and contracts.recurrence >= 0


def _seen_from(graph: Graph, shapes: Shapes, node: Node, at: int) -> Layer | None:
    """The node with its operand ``at`` as the weight, ``None`` if that is not constant."""
    contracts = contracts_of(node)
    names = contracts.inputs(node)
    operand, x = names[at], names[1 - at]
    size, given = graph_shape(graph, shapes, operand), shapes.shape.get(x)
    view = float_view(graph, node) if contracts.scales and at == 1 else None
    stored = view.stored if view else find_parameter(graph, operand)
    tensor = graph.parameters.get(stored.name)
    if tensor is None or x in graph.parameters or tensor.data_type not in FLOAT_TYPES | QUANTIZED_TYPES:
        return None
    if not given and (contracts.windows or contracts.recurrence >= 0):
        # the rank is the weight's, and nothing depends on the sizes
        given = (None,) * len(size)
    if not size or not given or 0 in size:
        return None
    ranks = (len(given), len(size)) if at else (len(size), len(given))
    terms = seen_from(contracts.labels(node, ranks), at, size, given)
    if terms is None:
        return None
    unfit = ""
    if contracts.scales and view is None:
        unfit = INTEGERS
    elif any(len(graph.readers(n)) > 1 for n in (stored.name, operand)):
        unfit = SHARED
    elif stored.name in graph.hidden:
        unfit = "its weight is sparse"
    alpha, beta = float(node.attr("alpha", 1.0)), float(node.attr("beta", 1.0))
    bias = node.input(contracts.bias) if contracts.bias >= 0 and beta and not contracts.scales else ""
    around = _around(graph, node, terms, size, bias, view)
    kernel = tuple(d for label, d in zip(terms.w, size, strict=True) if terms.slides and label in terms.taps)
    zeros = ("", "") if view or not contracts.scales else _zero_points(node, contracts.scales)
    return Layer(node, view.x if view else x, operand, stored, around, terms, kernel, alpha or 1.0, beta, zeros, unfit)


def _around(
    graph: Graph, node: Node, terms: Contraction, size: tuple[int, ...], bias: str, view: FloatView | None
) -> Epilogue:
    """What stands behind the node, whose output channels may lie on an axis of their own."""
    if _recurs(node):
        return Epilogue(next(o for o in node.outputs if o))
    made = [axis for axis in terms.w if axis not in terms.taps and {*factors([axis])} & {*terms.outer}]
    width = math.prod(size[terms.w.index(axis)] for axis in made)
    # from the end, as a bias is broadcast; one per window is no bias
    channel = 0 if terms.channels is None or terms.overlaps else len(terms.y) - terms.channels
    # a BatchNorm has its channels on axis 1
    normed = terms.channels == 1 and {*terms.outer} <= {*factors(terms.y)}
    return epilogue_of(graph, node, bias, width, channel, normed, view.after if view else ())


def _zero_points(node: Node, scales: Scales) -> tuple[str, str]:
    """Those of input and weight."""
    x, w = (node.input(at[-1]) if at else "" for at in (scales.a, scales.b))
    return x, w


def graph_shape(graph: Graph, shapes: Shapes, name: str) -> tuple[int, ...]:
    """Shape of a tensor of the dense graph (0 where data decides)."""
    return graph.shape(name) if name in graph.parameters else tuple(int(d or 0) for d in shapes.shape.get(name) or ())
