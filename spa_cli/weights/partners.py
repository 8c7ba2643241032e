"""The weights that an initializer is used together with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from spa_cli.graph.model import Graph, Node
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
            axis = _output_axis(place, graph.shape(weight), size)
            if axis is not None:
                yield weight, axis
        if found:
            return


def _output_axis(node: Node, shape: tuple[int, ...], size: int) -> int | None:
    fixed = {"Conv": 0, "ConvTranspose": 1, "MatMul": len(shape) - 1, "Gemm": 0 if node.attr("transB") else 1}
    axis = fixed.get(node.op) if len(squeezed(shape)) > 1 else None
    axes = [a for a, d in enumerate(shape) if d == size]
    if axis is None:
        return axes[0] if len(axes) == 1 else None
    return axis if axis in axes else None
