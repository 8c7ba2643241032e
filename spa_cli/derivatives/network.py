"""A model that can be differentiated by its weights, once it was seen to compute what the file computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from spa_cli.adjoints.weights import WeightGradients, weight_gradients
from spa_cli.derivatives.outputs import disagreement, expected
from spa_cli.derivatives.settle import settle, switches_of
from spa_cli.derivatives.weights import weights_of
from spa_cli.errors import ModelError
from spa_cli.graph.model import Array, Graph
from spa_cli.runtime.said import said
from spa_cli.runtime.session import Feeds

# (inputs, labels or None, weight of each sample)
Batch = tuple[Feeds, Array | None, Array]

INSTEAD = (
    "use a criterion that needs no gradients, such as obspa, "
    "or --method scores:FILE.npz with scores from your framework"
)

# relative to the greatest value: single precision; half; a rounding of 8 bits that falls the other way
_AGREEMENT, _HALF, _ROUNDED = 1e-3, 2e-2, 1e-1
_ROUNDING = frozenset({"QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "QGemm"})

N = TypeVar("N", bound="Network")


@dataclass(eq=False)
class Network:
    """A model with a gradient graph. BatchNorm keeps its running statistics and Dropout is off: it is the network as it
    infers whose loss is differentiated. Integers are quantised weights: their gradient is that by the stored number.

    ``weights``: the initializers and Constants with gradients, as numbers. ``missing``: those without, and why.
    ``outputs``: those a loss may be taken on.
    """

    graph: Graph
    outputs: list[str]
    weights: dict[str, Array] = field(default_factory=dict, repr=False)
    missing: dict[str, str] = field(default_factory=dict)
    functions: dict[tuple[Any, ...], WeightGradients] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls: type[N], graph: Graph, feeds: dict[str, Array], reference: list[Array]) -> N:
        """Make the gradient graph of ``graph``; compare one run on ``feeds`` (one batch) with ``reference`` there.

        Raises ModelError if there is no loss, no weight has a gradient (naming the operator that has no adjoint), or
        the result differs by more than rounding.
        """
        given = expected(graph, feeds, reference)
        result = cls(graph, list(given))
        function = result.function(feeds) if given else None
        reached = function.reached if function else frozenset()
        # an output that no weight reaches by way of derivatives (indices, a constant) can bear no loss
        usable = [n for n in given if n in reached]
        if function is None or not usable:
            raise ModelError(f"no floating-point output depends on weights, so there is no loss; {INSTEAD}")
        if usable != result.outputs:
            result.outputs = usable
            result.functions.clear()
            function = result.function(feeds)
        result.missing = function.missing
        if not function.names:
            raise ModelError(f"no weight has a gradient ({_why(function.missing)}); {INSTEAD}")
        result.weights = function.start()
        result._compare(given, _computed(function.recomputed, feeds, result.weights))
        return result

    def function(self, feeds: Feeds) -> WeightGradients:
        """The gradient graph at the shapes (and with the switches) of ``feeds``."""
        switches = tuple((n, int(feeds[n])) for n in switches_of(feeds))
        key = (switches, *((n, np.shape(feeds[n])) for n in sorted(feeds)))
        if key not in self.functions:
            settled, shapes = settle(self.graph, feeds)
            self.functions[key] = weight_gradients(settled, shapes, weights_of(settled), self.outputs)
        return self.functions[key]

    def weights_at(self, feeds: Feeds) -> dict[str, Array]:
        """The weights that have a gradient at the shapes of ``feeds``."""
        function = self.function(feeds)
        return self.weights if [*self.weights] == [*function.names] else function.start()

    def forward(self, feeds: Feeds, weights: dict[str, Array] | None = None) -> dict[str, Array]:
        """Outputs by name, with the model's own weights or others."""
        return _computed(self.function(feeds).outputs, feeds, self.weights_at(feeds) if weights is None else weights)

    def backward(
        self, feeds: Feeds, cotangents: dict[str, Array], weights: dict[str, Array] | None = None
    ) -> dict[str, Array]:
        """Gradients by weight, of outputs times cotangents, with the model's own weights or others."""
        weights = self.weights_at(feeds) if weights is None else weights
        return _computed(self.function(feeds).run, feeds, cotangents, weights)

    def _compare(self, given: dict[str, Array], outputs: dict[str, Array]) -> None:
        rounds = any(n.op in _ROUNDING for n in self.graph.nodes)
        for name, found in outputs.items():
            wanted = given[name]
            half = wanted.dtype == np.float16 or wanted.dtype.name == "bfloat16"
            allowed = _ROUNDED if rounds else _HALF if half else _AGREEMENT
            error = disagreement(np.asarray(wanted, np.float64), np.asarray(found, np.float64))
            if not error <= allowed:
                raise ModelError(
                    f"the gradient graph gives '{name}' with a relative error of {error:.2g} to the model, "
                    f"so its gradients can't be trusted; {INSTEAD}"
                )


def _why(missing: dict[str, str]) -> str:
    """The reason that most weights have."""
    reasons: Sequence[str] = [*missing.values()] or ["there are none"]
    return max(reasons, key=list(reasons).count)


def _computed(run: Any, *given: Any) -> dict[str, Array]:
    try:
        found: dict[str, Array] = run(*given)
    except Exception as error:
        raise ModelError(f"the gradient graph doesn't run in onnxruntime ({said(error)}); {INSTEAD}") from error
    return found
