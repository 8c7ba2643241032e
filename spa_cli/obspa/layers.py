"""Linear layers of a graph: ``y = W x + b``, what they read, what follows them, and what they should give.

In the paper's symbols: ``x`` (p,) is the input of the layer (im2col patches, a channel is a block of coordinates),
``W`` (o, p) its weight, ``y`` (o,) its output. A BatchNorm that follows is folded for the computation only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from spa_cli.graph.model import Array, Graph, Node

_CONVS = frozenset({"Conv", "FusedConv"})
RECURRENT = frozenset({"LSTM", "GRU", "RNN"})


@dataclass(frozen=True, eq=False)
class Layer:
    """One contraction with a constant weight.

    ``weight`` (its ``axis`` is contracted); ``bias`` the parameter added to it, if any, by ``node`` itself or by the
    Add that gives ``output``; ``fixed_bias`` a bias that is computed or shared, and so can't be changed; ``norm`` the
    BatchNormalization that alone reads ``output``; ``join`` the Add at which the branch meets another, ``other`` that
    branch; ``casts`` what stands between the stored weight and the node.
    """

    node: Node
    x: str
    weight: str
    axis: int
    bias: str
    fixed_bias: str
    output: str
    norm: Node | None
    after_norm: str
    join: Node | None
    other: str
    casts: tuple[Node, ...] = ()
    below: float | None = None
    above: float | None = None

    @property
    def key(self) -> str:
        """The first tensor the node gives."""
        return next(o for o in self.node.outputs if o)

    @property
    def target(self) -> str:
        """The tensor whose dense values the layer should reproduce."""
        return self.join.outputs[0] if self.join else self.after_norm

    @property
    def groups(self) -> int:
        """Groups of a convolution that share nothing."""
        return int(self.node.attr("group", 1)) if self.node.op in (*_CONVS, "ConvTranspose") else 1

    def matrix(self, weight: Array, groups: int) -> Array:
        """``W`` as (g, o/g, p): one matrix per group."""
        if self.node.op in _CONVS:
            return weight.reshape(groups, weight.shape[0] // groups, -1)
        if self.node.op == "ConvTranspose":
            # before the overlapping windows are added: o = (M/g, *k), p = C/g
            return np.swapaxes(weight.reshape(groups, weight.shape[0] // groups, -1), 1, 2)
        if self.node.op in RECURRENT:
            return weight.reshape(1, -1, weight.shape[2])
        return np.moveaxis(weight, self.axis, -1)[None]

    def restore(self, matrix: Array, like: Array, groups: int) -> Array:
        """The weight tensor of a ``matrix``."""
        if self.node.op in _CONVS:
            return matrix.reshape(like.shape)
        if self.node.op == "ConvTranspose":
            return np.swapaxes(matrix, 1, 2).reshape(like.shape)
        if self.node.op in RECURRENT:
            return matrix.reshape(like.shape)
        return np.moveaxis(matrix[0], -1, self.axis)


def find_layers(graph: Graph) -> list[Layer]:
    """Layers in topological order whose weight is a parameter that nothing else reads."""
    layers = []
    for node in graph.nodes:
        found = _contraction(graph, node)
        if found is None:
            continue
        x, operand, axis, bias = found
        weight, casts = _behind_casts(graph, operand)
        if weight not in graph.parameters or len(_readers(graph, weight)) > 1:
            continue
        if graph.parameters[weight].data_type not in (1, 10, 11, 16):
            continue
        layer = replace(_with_surroundings(graph, node, x, weight, axis, bias), casts=casts)
        below, above = _flat(graph, layer)
        layers.append(replace(layer, below=below, above=above))
    return layers


def _behind_casts(graph: Graph, name: str) -> tuple[str, tuple[Node, ...]]:
    """The parameter that a weight is cast from (stored in half precision), and the casts, first to last."""
    casts: list[Node] = []
    producers = {o: n for n in graph.nodes if n.op in ("Cast", "Identity") for o in n.outputs}
    while name in producers and name not in graph.parameters and len(_readers(graph, name)) == 1:
        casts.append(producers[name])
        name = producers[name].inputs[0]
    return name, tuple(casts[::-1])


def _readers(graph: Graph, name: str) -> list[Node]:
    """Nodes that read a tensor's values (not only its shape)."""
    return [n for n in graph.consumers.get(name, []) if n.op not in ("Shape", "Size")]


def _contraction(graph: Graph, node: Node) -> tuple[str, str, int, str] | None:
    if node.op in _CONVS and not (node.op == "FusedConv" and node.attr("activation")):
        return node.inputs[0], node.inputs[1], 1, node.input(2)
    if node.op == "ConvTranspose":
        return node.inputs[0], node.inputs[1], 0, node.input(2)
    if node.op == "Gemm" and not node.attr("transA", 0) and node.attr("alpha", 1.0) == 1.0 == node.attr("beta", 1.0):
        return node.inputs[0], node.inputs[1], 1 if node.attr("transB", 0) else 0, node.input(2)
    if node.op in RECURRENT:
        return node.inputs[0], node.inputs[1], 2, ""
    stored = graph.parameters.get(_behind_casts(graph, node.inputs[1])[0]) if node.op == "MatMul" else None
    if stored is not None and not node.domain and len(stored.dims) == 2:
        return node.inputs[0], node.inputs[1], 0, ""
    return None


def _with_surroundings(graph: Graph, node: Node, x: str, weight: str, axis: int, bias: str) -> Layer:
    output, fixed_bias = next(o for o in node.outputs if o), ""
    if node.op in RECURRENT:
        return Layer(node, x, weight, axis, "", "", output, None, output, None, "")
    if bias and (bias not in graph.parameters or len(_readers(graph, bias)) > 1):
        bias, fixed_bias = "", bias
    if node.op == "MatMul":
        add = _only_reader(graph, output)
        if add is not None and add.op == "Add":
            constant = next((i for i in add.inputs if i in graph.parameters), "")
            if constant and len(graph.shape(constant)) == 1 and len(graph.consumers[constant]) == 1:
                bias, output = constant, add.outputs[0]
    norm, after_norm = None, output
    follower = _only_reader(graph, output)
    if follower is not None and follower.op == "BatchNormalization" and follower.inputs[0] == output:
        fixed = all(i in graph.parameters for i in follower.inputs[1:5])
        if fixed and len([o for o in follower.outputs if o]) == 1:
            norm, after_norm = follower, follower.outputs[0]
    join, other = None, ""
    add = _only_reader(graph, after_norm)
    if add is not None and add.op == "Add" and not add.domain:
        rest = [i for i in add.inputs if i != after_norm]
        if len(rest) == 1 and rest[0] not in graph.parameters:
            join, other = add, rest[0]
    return Layer(node, x, weight, axis, bias, fixed_bias, output, norm, after_norm, join, other)


def _flat(graph: Graph, layer: Layer) -> tuple[float | None, float | None]:
    """Below and above what the activation after the target no longer changes."""
    readers = _readers(graph, layer.target)
    if len(readers) != 1 or layer.target in graph.outputs or layer.node.op in (*RECURRENT, "ConvTranspose"):
        return None, None
    if readers[0].op == "Relu":
        return 0.0, None
    return None, None


def _only_reader(graph: Graph, name: str) -> Node | None:
    readers = _readers(graph, name)
    return readers[0] if len(readers) == 1 and name not in graph.outputs else None


def norm_scale(layer: Layer, read: object) -> tuple[Array, Array, Array] | None:
    """``(s, mean, beta)`` of the BatchNorm: it gives ``s * (y - mean) + beta``; ``None`` if there is none."""
    if layer.norm is None:
        return None
    gamma, beta, mean, variance = (np.asarray(read(i), np.float64) for i in layer.norm.inputs[1:5])  # type: ignore[operator]
    return gamma / np.sqrt(variance + float(layer.norm.attr("epsilon", 1e-5))), mean, beta


def sample_rows(shape: tuple[int, ...], limit: int, rng: np.random.Generator) -> Array | None:
    """Random output positions to look at per sample (flat indices), ``None`` for all of them."""
    count = math.prod(shape)
    if count <= limit:
        return None
    return np.sort(rng.choice(count, limit, replace=False))


def positions(layer: Layer, x: tuple[int, ...], kernel: tuple[int, ...]) -> tuple[int, ...]:
    """Sizes of the axes that rows are sampled from, for an input of shape ``x``."""
    if kernel:
        return output_size(layer, x[2:], kernel)
    return x[2:] if layer.node.op == "ConvTranspose" else x[1:-1]


def kernel_of(layer: Layer, weight: tuple[int, ...]) -> tuple[int, ...]:
    """Window of a convolution with a weight of that shape, empty for other layers."""
    return weight[2:] if layer.node.op in _CONVS else ()


def features(layer: Layer, x: Array, rows: Array | None, groups: int, kernel: tuple[int, ...]) -> Array:
    """Inputs of the layer at the sampled positions: (g, samples * positions, p)."""
    if layer.node.op in _CONVS:
        patches = _patches(layer, x, kernel)
        n, c = x.shape[:2]
        taken = patches.reshape(n, c, -1, *kernel) if rows is None else _pick(patches, rows, len(kernel))
        # (n, c, m, *k) -> (g, n*m, c/g * k)
        taken = np.moveaxis(taken, 2, 1).reshape(n * taken.shape[2], groups, -1)
        return np.moveaxis(taken, 1, 0)
    if layer.node.op == "ConvTranspose":
        n, c = x.shape[:2]
        flat = x.reshape(n, c, -1)
        taken = flat if rows is None else flat[:, :, rows]
        taken = np.moveaxis(taken, 2, 1).reshape(-1, groups, c // groups)
        return np.moveaxis(taken, 1, 0)
    x = np.atleast_2d(x)
    flat = x.reshape(len(x), -1, x.shape[-1])
    taken = flat if rows is None else flat[:, rows]
    return taken.reshape(1, -1, x.shape[-1])


def values_at(layer: Layer, y: Array, rows: Array | None) -> Array:
    """A tensor of the layer's output shape at the sampled positions: (samples * positions, o)."""
    if layer.node.op in _CONVS:
        flat = y.reshape(*y.shape[:2], -1)
        taken = flat if rows is None else flat[:, :, rows]
        return np.moveaxis(taken, 2, 1).reshape(-1, y.shape[1])
    y = np.atleast_2d(y)
    flat = y.reshape(len(y), -1, y.shape[-1])
    taken = flat if rows is None else flat[:, rows]
    return taken.reshape(-1, y.shape[-1])


def output_size(layer: Layer, size: tuple[int, ...], kernel: tuple[int, ...]) -> tuple[int, ...]:
    """Spatial size of a convolution's output."""
    strides = layer.node.attr("strides") or [1] * len(kernel)
    dilations = layer.node.attr("dilations") or [1] * len(kernel)
    pads = _pads(layer.node, size, kernel, strides, dilations)
    return tuple(
        (n + sum(p) - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(size, pads, dilations, kernel, strides, strict=True)
    )


def _patches(layer: Layer, x: Array, kernel: tuple[int, ...]) -> Array:
    """A view (n, c, *out, *k) of the padded input."""
    rank = len(kernel)
    strides = layer.node.attr("strides") or [1] * rank
    dilations = layer.node.attr("dilations") or [1] * rank
    pads = _pads(layer.node, x.shape[2:], kernel, strides, dilations)
    x = np.pad(x, [(0, 0), (0, 0), *pads])
    spans = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(x, spans, axis=tuple(range(2, 2 + rank)))
    steps = [1, 1, *strides, *dilations]
    picks: Any = tuple(slice(None, None, s) for s in steps)
    return np.asarray(view[picks])


def _pads(
    node: Node, size: tuple[int, ...], kernel: tuple[int, ...], strides: list[int], dilations: list[int]
) -> list[tuple[int, int]]:
    rank = len(kernel)
    auto = node.attr("auto_pad", "NOTSET")
    if auto in ("NOTSET", "VALID", ""):
        pads = node.attr("pads") or [0] * (2 * rank)
        return [(pads[i], pads[i + rank]) for i in range(rank)] if auto != "VALID" else [(0, 0)] * rank
    result = []
    for n, k, s, d in zip(size, kernel, strides, dilations, strict=True):
        total = max((math.ceil(n / s) - 1) * s + d * (k - 1) + 1 - n, 0)
        small = total // 2
        result.append((small, total - small) if auto == "SAME_UPPER" else (total - small, small))
    return result


def _pick(patches: Array, rows: Array, rank: int) -> Array:
    where = np.unravel_index(rows, patches.shape[2 : 2 + rank])
    picks: Any = (slice(None), slice(None), *where)
    return np.asarray(patches[picks])
