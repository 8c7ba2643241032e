"""Gradients in a model's weights, which are fed at every run: criteria take them once, training at every step.

found = weight_gradients(graph, shapes, graph.weights(), graph.outputs)
weights = found.start()
for feeds in batches:
    outputs = found.outputs(feeds, weights)
    cotangents = {name: slope_of_the_loss_in(y) for name, y in outputs.items()}
    for name, gradient in found.run(feeds, cotangents, weights).items():
        weights[name] -= rate * gradient
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx
from onnxruntime import InferenceSession

from spa_cli.adjoints.network import Adjoint, adjoint
from spa_cli.adjoints.trainable import NARROW, as_fed, numbers, trainable
from spa_cli.graph.model import Array, Graph
from spa_cli.graph.shapes import Shapes
from spa_cli.runtime.probe import probe
from spa_cli.runtime.providers import chosen
from spa_cli.runtime.session import Feeds, open_session


@dataclass(eq=False)
class WeightGradients:
    """A model with its weights as inputs, and its gradients in them; on the providers in force (``--provider``).

    ``opened``: the model itself, with the weights in ``names`` as inputs and half precision made single; ``shapes``: of
    that. ``adjoint``: its gradient graph. ``missing``: of the weights without gradients the reason; they are constants.
    ``given``: the outputs that bear cotangents, in order; ``reached``: those that depend on a weight, also without one.
    ``threads``: how many a run takes (``None``: all there are).

    A weight is a number however it is stored: half precision as single, an integer as the number it is, which is
    rounded where it is fed, so that its gradient (by the integer, not by what it stands for) goes straight through.
    """

    graph: Graph
    opened: Graph
    shapes: Shapes
    adjoint: Adjoint
    names: tuple[str, ...]
    given: tuple[str, ...]
    missing: dict[str, str]
    reached: frozenset[str]
    threads: int | None = None

    def start(self) -> dict[str, Array]:
        """The weights as the file has them, float32 (of double precision: float64), in their own shapes."""
        return {name: numbers(self.graph.array(name)) for name in self.names}

    def outputs(self, feeds: Feeds, weights: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs in ``given`` on ``feeds``, with these weights; raises what onnxruntime raises."""
        return computed(self.forward, self.opened.model, self.given, {**feeds, **weights})

    def run(self, feeds: Feeds, cotangents: Mapping[str, Array], weights: Mapping[str, Array]) -> dict[str, Array]:
        """Gradients by weight of the sum over outputs of output times cotangent, in the shape of the weight.

        ``cotangents``: of the outputs in ``given``, each in its shape; an output without one counts nothing.
        """
        given = {self.adjoint.cotangents[name]: value for name, value in cotangents.items()}
        absent = [name for name in self.given if name not in cotangents]
        if absent:
            shapes = computed(self.forward, self.opened.model, absent, {**feeds, **weights})
            given |= {self.adjoint.cotangents[n]: np.zeros_like(y) for n, y in shapes.items()}
        found = [self.adjoint.gradients[name] for name in self.names]
        results = computed(self.backward, self.adjoint.model, found, {**feeds, **weights, **given})
        return dict(zip(self.names, results.values(), strict=True))

    def recomputed(self, feeds: Feeds, weights: Mapping[str, Array]) -> dict[str, Array]:
        """The same outputs by the gradient graph, where fused operators are in parts: gradients are of these."""
        outputs = self.outputs(feeds, weights)
        zeros = {self.adjoint.cotangents[n]: np.zeros_like(y) for n, y in outputs.items()}
        return computed(self.backward, self.adjoint.model, self.given, {**feeds, **weights, **zeros})

    @cached_property
    def forward(self) -> InferenceSession:
        """The model: graph inputs and weights in, the outputs in ``given`` out."""
        return opened(probe(self.opened.in_memory(), self.given), self.threads)

    @cached_property
    def backward(self) -> InferenceSession:
        """The gradient graph: graph inputs, weights and cotangents in; outputs, then gradients out."""
        return opened(self.adjoint.model, self.threads)


def opened(model: onnx.ModelProto, threads: int | None = None) -> InferenceSession:
    """A session on the providers in force."""
    return open_session(model, "all", providers=chosen(), threads=threads)


def computed(
    session: InferenceSession, model: onnx.ModelProto, names: Iterable[str], values: Feeds
) -> dict[str, Array]:
    """Outputs ``names`` of a session of ``model``, whose inputs are fed with numbers in the types that they have."""
    names, types = list(names), {v.name: v.type.tensor_type.elem_type for v in model.graph.input}
    fed = {n: as_fed(np.asarray(v), types[n]) for n, v in values.items() if n in types}
    return dict(zip(names, session.run(names, fed), strict=True))


def weight_gradients(
    graph: Graph, shapes: Shapes, weights: Iterable[str], outputs: Iterable[str], threads: int | None = None
) -> WeightGradients:
    """Gradients of ``outputs`` in ``weights``: names of initializers, dense or sparse, or of Constants' outputs.

    ``shapes``: of the graph, as it was analysed; where its free dimensions are free, the result runs at others too.
    Weights without a gradient are in ``missing``, with the reason.
    """
    wanted, outputs = list(dict.fromkeys(weights)), tuple(dict.fromkeys(outputs))
    missing = {n: why for n in wanted if (why := _unreachable(graph, n))}
    reached: frozenset[str] = frozenset()
    while True:
        free, known = trainable(graph, shapes, [n for n in wanted if n not in missing])
        found = adjoint(free, known, [n for n in wanted if n not in missing], outputs)
        reached |= found.reached
        if not found.missing:
            return WeightGradients(
                graph, free, known, found, tuple(found.gradients), outputs, missing, reached, threads
            )
        # what has no gradient is a constant, of which more is known
        missing |= found.missing


def _unreachable(graph: Graph, name: str) -> str:
    """Why a weight can't be an input, if it can't."""
    if name not in graph.parameters:
        return "it is no weight of the model"
    if graph.parameters[name].data_type in NARROW:
        return "onnxruntime takes no input of its type"
    if any(n.op == "MatMulNBits" and name in (n.inputs[1], n.input(3)) for n in graph.consumers.get(name, ())):
        return "its numbers are packed, several to a byte"
    if name in graph.hidden and all(name != s.values.name for s in graph.model.graph.sparse_initializer):
        return "it lies inside a body of a control-flow node"
    return ""
