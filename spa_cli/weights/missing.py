"""Initializers of a plan that no tensor of the weights is."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from spa_cli.errors import UsageError
from spa_cli.graph.formulas import made_by_formula
from spa_cli.graph.model import Array, Graph
from spa_cli.weights.names import nearest
from spa_cli.weights.tensors import Weights, is_constant


def require_all(
    names: Iterable[str], graph: Graph, weights: Weights, taken: Collection[str], retrained: bool, exported: bool
) -> list[str]:
    """Raise UsageError for the first of these initializers of the plan, which were not found.

    ``taken`` are the keys that others were found in, ``retrained`` whether values under the same name differ,
    ``exported`` whether the weights are those that the model is said to be exported from.

    Gives a warning for each that never was a weight: a table that a formula made, a constant that nothing in the
    weights has the value and size of.
    """
    warnings = []
    for name in names:
        array = graph.array(name)
        alike = _alike(array, weights, taken)
        if is_constant(array) and alike:
            raise UsageError(several(name, array, alike))
        if retrained or not (is_constant(array) or made_by_formula(graph, name)):
            advice = (
                "give the weights the model was really exported from"
                if exported
                else "if they were retrained, give those the model was exported from with --exported-with"
            )
            raise unmatched(name, array.shape, weights, advice)
        warnings.append(
            f"'{name}' is a constant that the weights don't have; the code that makes it has to follow the plan"
        )
    return warnings


def _alike(array: Array, weights: Weights, taken: Collection[str]) -> list[str]:
    """Constant tensors of the same size and value that nothing else is."""
    free = {k: t for k, t in weights.tensors.items() if k not in taken and t.size == array.size}
    return [k for k, t in free.items() if is_constant(t) and t.flat[0] == array.flat[0]]


def several(name: str, array: Array, keys: list[str]) -> str:
    """What to say of a constant initializer that could be several tensors."""
    return (
        f"every value of '{name}' is {float(array.flat[0]):g}, and {' or '.join(map(repr, keys[:3]))} could be it; "
        "give weights that were trained, or export the model so that their names are kept"
    )


def unmatched(name: str, shape: tuple[int, ...] | None, weights: Weights, advice: str) -> UsageError:
    """What to raise for an initializer that no tensor is; names the nearest keys."""
    near = nearest(name, shape, weights.tensors)
    size = "" if shape is None else f" {list(shape)}"
    return UsageError(
        f"the plan cuts '{name}'{size}, which no tensor of '{weights.name}' is "
        f"(nearest: {', '.join(near) or 'none'}); {advice}"
    )
