"""What stands around a layer: its bias, the BatchNorm and the residual sum behind it, the activation after that."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from spa_cli.graph.known import Read
from spa_cli.graph.model import Array, Graph, Node
from spa_cli.obspa.parameter_path import ParameterPath, find_parameter
from spa_cli.operators import record_of
from spa_cli.operators.labelled import added_in, inner_range

# of what is nowhere flat
OPEN = (-math.inf, math.inf)


@dataclass(frozen=True, eq=False)
class Epilogue:
    """``bias``: where the layer's own bias is stored (added by the node itself or by the Add that gives ``output``).

    ``fixed_bias``: a bias that is computed or shared, and so can't be changed. ``norm``: the BatchNormalization that
    alone reads ``output``. ``join``: the Add at which the branch meets another, ``other`` that branch. ``path``: the
    nodes between the layer and ``target``. ``flat``: what the activation behind the target no longer tells apart.
    """

    output: str
    bias: ParameterPath | None = None
    fixed_bias: str = ""
    norm: Node | None = None
    join: Node | None = None
    other: str = ""
    path: tuple[Node, ...] = ()
    flat: tuple[float, float] = OPEN

    @property
    def after_norm(self) -> str:
        """The tensor behind the norm."""
        return self.norm.outputs[0] if self.norm else self.output

    @property
    def target(self) -> str:
        """The tensor whose dense values the layer should reproduce."""
        return self.join.outputs[0] if self.join else self.after_norm


def epilogue_of(
    graph: Graph, node: Node, bias: str, width: int, channel: int, normed: bool = True, start: tuple[Node, ...] = ()
) -> Epilogue:
    """Look behind a layer of ``width`` outputs, which lie ``channel`` axes from the end (0: on several or no axes).

    ``normed``: whether that is axis 1, where a BatchNorm has its channels. ``start``: nodes behind it that it
    consists of.
    """
    output = next(o for o in (start[-1] if start else node).outputs if o)
    path = list(start)
    own = _own_bias(graph, bias)
    if own is not None and math.prod(graph.shape(own.name)) != width:
        own = None
    fixed = bias if own is None else ""
    inner = added_in(node)
    if node.attr("activation", "") or inner:
        # nothing stands between the product and what the node itself adds and applies
        flat = (inner_range(node) if node.attr("activation", "") else None) or _flat(graph, output)
        return Epilogue(output, own, fixed, None, node if inner else None, inner, (), flat)
    if not bias and channel:
        add = graph.only_reader(output)
        if add is not None and add.op == "Add":
            constant = next((i for i in add.inputs if i != output), "")
            added = _own_bias(graph, constant)
            if added is not None and _is_bias(graph.shape(added.name), width, channel):
                own, output = added, add.outputs[0]
                path.append(add)
    norm = _norm(graph, output) if normed else None
    after = norm.outputs[0] if norm else output
    join, other = None, ""
    add = graph.only_reader(after)
    if add is not None and add.op == "Add" and not add.domain:
        rest = [i for i in add.inputs if i != after]
        if len(rest) == 1 and find_parameter(graph, rest[0]).name not in graph.parameters:
            join, other = add, rest[0]
    path += [n for n in (norm, join) if n is not None]
    target = path[-1].outputs[0] if path else output
    return Epilogue(output, own, fixed, norm, join, other, tuple(path), _flat(graph, target))


def norm_scale(norm: Node | None, read: Read) -> tuple[Array, Array, Array] | None:
    """``(s, mean, beta)`` of the BatchNorm: it gives ``s * (y - mean) + beta``; ``None`` if there is none."""
    if norm is None:
        return None
    values = [read(i) for i in norm.inputs[1:5]]
    gamma, beta, mean, variance = (np.asarray(v, np.float64) for v in values)
    return gamma / np.sqrt(variance + float(norm.attr("epsilon", 1e-5))), mean, beta


def per_row(values: Array, rows: tuple[int, ...]) -> Array:
    """One value per output channel for every row (g, o) of the layer's matrix: a transposed layer has one per tap."""
    return np.repeat(values, math.prod(rows) // len(values)).reshape(rows)


def _own_bias(graph: Graph, name: str) -> ParameterPath | None:
    if not name:
        return None
    stored = find_parameter(graph, name)
    alone = len(graph.readers(name)) == 1 == len(graph.readers(stored.name))
    simple = all(n.op in ("Cast", "Identity", "DequantizeLinear") for n in stored.chain)
    return stored if stored.name in graph.parameters and alone and simple else None


def _is_bias(shape: tuple[int, ...], width: int, channel: int) -> bool:
    """Whether a constant of that shape that is added has one value per output channel."""
    return math.prod(shape) == width and len(shape) >= channel and shape[-channel] == width


def _norm(graph: Graph, output: str) -> Node | None:
    node = graph.only_reader(output)
    if node is None or node.op != "BatchNormalization" or node.inputs[0] != output:
        return None
    fixed = all(i in graph.parameters for i in node.inputs[1:5])
    return node if fixed and len([o for o in node.outputs if o]) == 1 else None


def _flat(graph: Graph, target: str) -> tuple[float, float]:
    """Below and above what the activation that alone reads a tensor is constant."""
    node = graph.only_reader(target)
    flat = record_of(node).flat if node is not None else None
    found = flat(node, lambda name: graph.array(name) if name in graph.parameters else None) if node and flat else None
    return found or OPEN
