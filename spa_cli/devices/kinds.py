"""Kinds of layers, which have kernels of their own, and whose results other nodes work on."""

from __future__ import annotations

from collections.abc import Sequence

from spa_cli.graph.model import Node
from spa_cli.operators import record_of
from spa_cli.operators.contracts import ShapeOf
from spa_cli.operators.labels import axis_of

CONVOLUTION, DEPTHWISE, GROUPED, PRODUCT, RECURRENT = KINDS = (
    *("convolution", "depthwise", "grouped", "product", "recurrent"),
)


def kind_of(node: Node, shape: ShapeOf) -> str:
    """Which kind of layer a node is; "" if it is none. ``shape`` gives those of its tensors."""
    record = record_of(node)
    contracts = record.contracts
    if contracts is None:
        return PRODUCT if record.counted else ""
    if contracts.recurrence >= 0:
        return RECURRENT
    if not contracts.windows:
        return PRODUCT
    groups = int(node.attr("group", 1))
    if groups == 1:
        return CONVOLUTION
    x, weight = (shape(name) for name in contracts.inputs(node))
    channels = x[axis_of(contracts.labels(node, (len(x), len(weight))).terms[0], "c")]
    return DEPTHWISE if channels == groups else GROUPED


def leaders(nodes: Sequence[Node]) -> dict[str, str]:
    """For every node (by label) the layer whose result it works on, or itself."""
    found = dict[str, str]()
    makers = {output: n.label for n in nodes for output in n.outputs if output}
    for node in nodes:
        before = next((found[makers[i]] for i in node.inputs if i in makers and makers[i] in found), node.label)
        found[node.label] = node.label if record_of(node).counted else before
    return found
