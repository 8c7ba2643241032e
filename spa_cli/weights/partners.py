"""The weights that an initializer is used together with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from spa_cli.graph.model import Graph, Node
from spa_cli.operators.registry import output_axes
from spa_cli.weights.layout import squeezed


def partners(
    graph: Graph, parts: Mapping[str, Sequence[object]], node: Node, name: str, size: int
) -> Iterator[tuple[str, int]]:
    """Initializers of the same node, or of the one that feeds it, with the axis of ``size`` that has their outputs.

    Only those count that were found in the weights (``parts``).
    """
    before = [graph.producers[i] for i in node.inputs if i in graph.producers]
    for place in (node, *before):
        found = [i for i in dict.fromkeys(place.inputs) if i != name and parts.get(i)]
        for weight in found:
            axis = _output_axis(place, weight, graph.shape(weight), size)
            if axis is not None:
                yield weight, axis
        if found:
            return


def _output_axis(node: Node, name: str, shape: tuple[int, ...], size: int) -> int | None:
    made = output_axes(node, name, len(shape)) if len(squeezed(shape)) > 1 else []
    axes = [a for a, d in enumerate(shape) if d == size]
    if len(made) != 1:
        return axes[0] if len(axes) == 1 else None
    return made[0] if made[0] in axes else None
