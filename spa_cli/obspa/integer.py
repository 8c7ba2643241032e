"""Integer layers as the float layers they stand for.

Quantisers write ``x -> (Dynamic)QuantizeLinear -> ConvInteger or MatMulInteger -> Cast -> Mul(x scale * W scale)``:
together one linear layer of ``x`` with the weight ``(W - zero) * scale``.
"""

from __future__ import annotations

from dataclasses import dataclass

from spa_cli.graph.model import Graph, Node
from spa_cli.obspa.parameter_path import ParameterPath, find_parameter
from spa_cli.operators.registry import contracts_of


@dataclass(frozen=True, eq=False)
class FloatView:
    """The float input ``x``, the weight as stored, and the nodes behind the integer operator that belong to it."""

    x: str
    stored: ParameterPath
    after: tuple[Node, ...]


def float_view(graph: Graph, node: Node) -> FloatView | None:
    """The layer an integer operator stands for, ``None`` if what surrounds it is something else."""
    source = graph.producers.get(node.inputs[0])
    if source is None or source.op not in ("QuantizeLinear", "DynamicQuantizeLinear"):
        return None
    x_scale = source.inputs[1] if source.op == "QuantizeLinear" else source.outputs[1]
    cast = graph.only_reader(node.outputs[0])
    if cast is None or cast.op != "Cast":
        return None
    scaled = graph.only_reader(cast.outputs[0])
    if scaled is None or scaled.op != "Mul":
        return None
    scales = graph.producers.get(next((i for i in scaled.inputs if i != cast.outputs[0]), ""))
    if scales is None or scales.op != "Mul" or x_scale not in scales.inputs:
        return None
    weight_scale = next((i for i in scales.inputs if i != x_scale), "")
    stored = find_parameter(graph, node.inputs[1])
    zero = node.input(3)
    if weight_scale not in graph.parameters or stored.chain or (zero and zero not in graph.parameters):
        return None
    axis = 0 if contracts_of(node).windows else -1
    return FloatView(source.inputs[0], ParameterPath(stored.name, (), weight_scale, zero, axis), (cast, scaled))
