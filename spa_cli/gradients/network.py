"""A model that can be differentiated by its initializers, once it was seen to compute what onnxruntime computes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from spa_cli.errors import ModelError
from spa_cli.gradients import backend
from spa_cli.gradients.outputs import disagreement, expected
from spa_cli.gradients.prepare import leaf, prepare, single, weights_of
from spa_cli.gradients.static import switches_of
from spa_cli.graph.model import Array, Graph
from spa_cli.graph.view import build
from spa_cli.runtime.session import Feeds

if TYPE_CHECKING:
    from spa_cli.gradients.convert import Converted

# (inputs, labels or None, weight of each sample)
Batch = tuple[Feeds, Array | None, Array]

# relative to the greatest value: single precision; half; a rounding of 8 bits that falls the other way
_AGREEMENT, _HALF, _ROUNDED = 1e-3, 2e-2, 1e-1
_ROUNDING = frozenset({"QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "QGemm"})

N = TypeVar("N", bound="TorchNetwork")


@dataclass(eq=False)
class TorchNetwork:
    """A model converted to torch. BatchNorm keeps its running statistics and Dropout is off: it is the network as it
    infers whose loss is differentiated. Integers are quantised weights: their gradient is that by the stored number.

    ``names``: the initializers and Constants with gradients; ``outputs`` those a loss may be taken on.
    """

    graph: Graph
    outputs: list[str]
    weights: dict[str, Any] = field(repr=False)
    functions: dict[tuple[Any, ...], Converted] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls: type[N], graph: Graph, feeds: dict[str, Array], reference: list[Array]) -> N:
        """Convert ``graph`` and compare one run on ``feeds`` (one batch) with onnxruntime's outputs there.

        Raises UsageError if the extra isn't installed, ModelError if an operator can't be converted or the result
        differs by more than rounding.
        """
        backend.require()
        import torch

        loaded = build(graph.in_memory(), "")
        given = expected(loaded, feeds, reference)
        weights = {n: torch.from_numpy(leaf(loaded.array(n)).copy()) for n in sorted(weights_of(loaded))}
        result = cls(loaded, list(given), {n: w.requires_grad_() for n, w in weights.items()})
        outputs = result.forward(feeds) if given else {}
        result._compare({n: a for n, a in given.items() if outputs[n].requires_grad}, outputs)
        # an output that no weight reaches by way of derivatives (indices, a constant) can bear no loss
        usable = [n for n in given if outputs[n].requires_grad]
        if not usable:
            raise ModelError(f"no floating-point output depends on weights, so there is no loss; {backend.INSTEAD}")
        if usable != result.outputs:
            result.outputs = usable
            result.functions.clear()
        used = set(result.function(feeds).prepared.weights)
        result.weights = {n: w for n, w in result.weights.items() if n in used}
        return result

    @property
    def names(self) -> tuple[str, ...]:
        """Initializers (and Constants) with gradients."""
        return tuple(self.weights)

    def function(self, feeds: Feeds) -> Converted:
        """The model at the shapes (and with the switches) of ``feeds``."""
        from spa_cli.gradients.convert import convert

        switches = tuple((n, int(feeds[n])) for n in switches_of(feeds))
        key = (switches, *((n, np.shape(feeds[n])) for n in sorted(feeds)))
        if key not in self.functions:
            self.functions[key] = convert(prepare(self.graph, frozenset(self.weights), self.outputs, feeds))
        return self.functions[key]

    def forward(self, feeds: Feeds) -> dict[str, Any]:
        """Outputs by name, as tensors."""
        inputs = tensors(feeds)
        return dict(zip(self.outputs, self.function(feeds)(self.weights, inputs), strict=True))

    def _compare(self, given: dict[str, Array], outputs: dict[str, Any]) -> None:
        rounds = any(n.op in _ROUNDING for n in self.graph.nodes)
        for name, wanted in given.items():
            half = wanted.dtype == np.float16 or wanted.dtype.name == "bfloat16"
            allowed = _ROUNDED if rounds else _HALF if half else _AGREEMENT
            error = disagreement(np.asarray(wanted, np.float64), outputs[name].detach().double().numpy())
            if not error <= allowed:
                raise ModelError(
                    f"the model converted to torch gives '{name}' with a relative error of {error:.2g} to onnxruntime, "
                    f"so its gradients can't be trusted; {backend.INSTEAD}"
                )


def tensors(feeds: Feeds) -> dict[str, Any]:
    """Inputs as torch has them; raises ModelError if one holds no numbers."""
    import torch

    found = {}
    for name, value in feeds.items():
        array = single(np.asarray(value))
        if array.dtype.kind not in "fiub":
            raise ModelError(f"input '{name}' holds {array.dtype}, through which no gradient passes; {backend.INSTEAD}")
        found[name] = torch.from_numpy(array.copy())
    return found
