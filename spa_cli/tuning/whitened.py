"""Steps in what layers give: gradients times the inverse second moment of what a layer reads.

A weight's gradient is long where inputs are large and much alike, however little there is to gain, and steps along it
leave the narrow valley that a closed-form fit ended in. Divided by the second moment of its inputs it is the gradient
in the layer's outputs (FOOF: Benzing 2022; one of the two sides of K-FAC: Martens and Grosse 2015).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from spa_cli.analysis import Analysis
from spa_cli.calibration.chunks import samples_in
from spa_cli.graph.model import Array, Graph
from spa_cli.graph.shapes import Shapes
from spa_cli.graph.states import State, narrowed
from spa_cli.memory import working_memory
from spa_cli.obspa.collect import collect
from spa_cli.obspa.layers import Layer, find_layers, graph_shape
from spa_cli.obspa.moments import Moments
from spa_cli.obspa.positions import Positions
from spa_cli.obspa.shrinkage import oracle_approximating
from spa_cli.tuning.augment import TOLD
from spa_cli.tuning.batches import Batches

# samples that are looked at, and how many at once where that is free
_SAMPLES, _AT_ONCE = 128, 32
# inputs of a layer at most, beyond which a step would cost more than its gradient; part of the memory for all layers
_WIDEST, _SHARE = 2560, 1 / 8
# of the mean of the diagonal, what the second moment is damped by at least, and what is left of it by shrinkage
_DAMPING, _LEAST = 1e-2, 1e-3
# a row that gives next to nothing is changed as if it gave this part of the mean
_QUIET = 1e-2


@dataclass(frozen=True, eq=False)
class Whitened:
    """One weight, ``W`` (g, o, p) as its layer reads it.

    ``inverse``: of the damped second moment, (g, p, p); ``damping``: (g,); ``gives``: how much the output of every row
    varies, (g, o). ``matrix``: what is stored like the weight as ``W``; ``stored``: the other way.
    """

    inverse: Array
    damping: Array
    gives: Array
    matrix: Callable[[Array], Array]
    stored: Callable[[Array], Array]

    def white(self, gradient: Array) -> tuple[Array, Array]:
        """The gradient in what the layer gives, as a change of ``W``; and how much every row of it would change that,
        squared: (g, o).
        """
        plain = self.matrix(gradient).astype(np.float32)
        found = np.matmul(plain, self.inverse)
        # d A d^T, of which d (A + lambda I) is known
        energy = np.einsum("gop,gop->go", found, plain)
        energy -= self.damping[:, None] * np.einsum("gop,gop->go", found, found)
        return found, np.maximum(energy, 0)


@dataclass(frozen=True, eq=False)
class White:
    """``layers``: by weight; ``sizes``: of biases, how much what they are added to varies."""

    layers: dict[str, Whitened]
    sizes: dict[str, Array]


def whitened(
    pruned: Analysis, names: Iterable[str], batches: Batches, seed: int, states: Sequence[State] = ()
) -> White:
    """Of the weights in ``names`` that one layer reads and that are not too wide; ``states``: those that shrank."""
    wanted, graph, shapes = set(names), pruned.graph, pruned.state.shapes
    layers = [layer for layer in find_layers(graph, shapes) if layer.stored.name in wanted and _taken(layer)]
    found, sizes, room = dict[str, Whitened](), dict[str, Array](), int(_SHARE * working_memory())
    some = [narrowed(run, states) for run in _some(batches)]
    statistics = collect(graph, shapes, layers, some, Positions(seed), _WIDEST) if layers else {}
    for layer in sorted(layers, key=lambda each: statistics[each.key].weight.shape[2] if each.key in statistics else 0):
        known = statistics.get(layer.key)
        if known is None or not known.finite:
            continue
        room -= 4 * known.weight.shape[0] * known.weight.shape[2] ** 2
        if room < 0:
            break
        forms = _forms(graph, shapes, layer, known.shape, len(known.weight))
        made = found[layer.stored.name] = _of(known.weight, known.moments, *forms)
        bias = layer.around.bias
        if bias is not None and bias.plain and bias.name in wanted:
            shape = graph.shape(bias.name)
            # of a transposed convolution several rows add to one output
            sizes |= {bias.name: made.gives.reshape(shape)} if math.prod(shape) == made.gives.size else {}
        hidden = layer.node.inputs[2] if known.hidden is not None else ""
        if hidden in wanted and known.hidden is not None:
            own = graph.array(hidden).astype(np.float64)
            found[hidden] = _of(own, known.hidden, lambda value: value, lambda value: value)
    return White(found, sizes)


def _taken(layer: Layer) -> bool:
    return layer.stored.plain and not (layer.unfit or layer.siblings)


def _some(batches: Batches) -> list[dict[str, Array]]:
    """Samples as the model takes them."""
    found, taken = list[dict[str, Array]](), 0
    for run in batches.plain(_AT_ONCE):
        if taken >= _SAMPLES:
            break
        found.append({name: value for name, value in run.items() if name != TOLD})
        taken += samples_in(run)
    return found


def _forms(
    graph: Graph, shapes: Shapes, layer: Layer, shape: Sequence[int], groups: int
) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    # trained in single precision, however it is stored
    like = np.zeros(graph.shape(layer.stored.name), np.float32)

    def matrix(value: Array) -> Array:
        operand = layer.stored.value(lambda _: value, lambda name: graph_shape(graph, shapes, name))
        assert operand is not None
        return layer.matrix(operand, groups)

    def stored(value: Array) -> Array:
        return layer.stored.back(layer.restore(value, tuple(shape)), lambda _: like)

    return matrix, stored


def _of(
    weight: Array, moments: Moments, matrix: Callable[[Array], Array], stored: Callable[[Array], Array]
) -> Whitened:
    second, covariance, width = moments.second, moments.h, weight.shape[2]
    kept = np.array([oracle_approximating(h, min(moments.rows, moments.n)) for h in covariance])
    damping = np.maximum(_DAMPING, kept / np.maximum(1 - kept, _LEAST)) * np.trace(second, axis1=1, axis2=2) / width
    damping = np.maximum(damping, 1e-12)
    inverse = np.linalg.inv(second + damping[:, None, None] * np.eye(width))
    varies = np.einsum("gop,gop->go", np.matmul(weight, covariance), weight)
    gives = np.sqrt(np.maximum(varies, max(_QUIET * float(varies.mean()), 1e-20)))
    inverse, damping, gives = (v.astype(np.float32) for v in (inverse, damping, gives))
    return Whitened(inverse, damping, gives, matrix, stored)
