"""Second derivatives: the gradient graph of a gradient graph.

With cotangents ``c`` the gradient is ``g = J^T c``. What ``g`` times a direction ``v`` depends on gives two derivatives
at once: in the weights ``sum_k c_k H_k v``, how the gradient moves along ``v`` while ``c`` stays; in the cotangents
``J v``, how the outputs move. Of a loss, ``c`` moves by its own Hessian times ``J v``, and one more run of the gradient
graph makes that the rest of the Hessian's product.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import onnx
from onnx import helper
from onnxruntime import InferenceSession

from spa_cli.adjoints.network import UNREACHED, Adjoint, adjoint
from spa_cli.adjoints.weights import WeightGradients, computed, opened
from spa_cli.graph.model import Array
from spa_cli.graph.shapes import interpret
from spa_cli.graph.view import build
from spa_cli.runtime.session import Feeds


@dataclass(eq=False)
class Second:
    """How gradients and outputs move along a direction. ``missing``: of tensors without a second derivative why."""

    first: WeightGradients
    adjoint: Adjoint
    missing: dict[str, str]

    def run(
        self,
        feeds: Feeds,
        cotangents: Mapping[str, Array],
        weights: Mapping[str, Array],
        direction: Mapping[str, Array],
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Derivatives along ``direction`` (by weight) of gradients by weight and of outputs; zero ones are absent."""
        first, gradients = self.first.adjoint, self.adjoint.gradients
        given = {first.cotangents[o]: c for o, c in cotangents.items()}
        along = {self.adjoint.cotangents[first.gradients[w]]: v for w, v in direction.items()}
        bent = {w: gradients[w] for w in self.first.names if w in gradients}
        moved = {o: gradients[c] for o, c in first.cotangents.items() if c in gradients}
        names = [*bent.values(), *moved.values()]
        found = computed(self.session, self.adjoint.model, names, feeds | given | along | {**weights})
        return {w: found[n] for w, n in bent.items()}, {o: found[n] for o, n in moved.items()}

    @cached_property
    def session(self) -> InferenceSession:
        """Inputs, weights, cotangents and directions in; derivatives out."""
        return opened(self.adjoint.model)


def second(first: WeightGradients, outputs: Mapping[str, Array]) -> Second:
    """Second derivatives of ``first``, which is for fixed shapes, where its outputs are shaped like ``outputs``."""
    model = onnx.ModelProto()
    model.CopyFrom(first.adjoint.model)
    shapes = {first.adjoint.cotangents[o]: y.shape for o, y in outputs.items()}
    for info in model.graph.input:
        if info.name in shapes:
            kind = info.type.tensor_type.elem_type
            info.CopyFrom(helper.make_tensor_value_info(info.name, kind, shapes[info.name]))
        else:
            shapes[info.name] = tuple(d.dim_value for d in info.type.tensor_type.shape.dim)
    graph = build(model, first.opened.folder)
    known = interpret(graph, shapes, first.shapes.observed, first.shapes.rules)
    cotangents = first.adjoint.cotangents.values()
    found = adjoint(graph, known, [*first.names, *cotangents], first.adjoint.gradients.values())
    return Second(first, found, {n: why for n, why in found.missing.items() if why != UNREACHED})
