"""What a layer is called that no path tells: what it is, and the how manieth in the order of the file."""

from __future__ import annotations

import re
from collections import Counter

from spa_cli.channels.places import Places
from spa_cli.graph.model import Graph

MATRICES = frozenset(
    ["MatMul", "Gemm", "FusedGemm", "FusedMatMul", "TransposeMatMul", "MatMulNBits", "MatMulInteger", "Einsum"]
)
_DENSE = MATRICES | {"QGemm", "QLinearMatMul", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"}
_EMBEDDINGS = frozenset(["Gather", "GatherBlockQuantized"])


class Counted:
    """Layers of a graph by number: all that have a matrix or a kernel of weights, also those that keep all channels."""

    def __init__(self, graph: Graph, places: Places) -> None:
        self._places = places
        found = (places.node(name) for name in graph.weights() if len(graph.shape(name)) > 1)
        layers = {id(node) for node in found if node is not None}
        self._names: dict[int, str] = {}
        counts = Counter[str]()
        for node in graph.all_nodes:
            if id(node) in layers:
                what = kind(node.op)
                counts[what] += 1
                self._names[id(node)] = f"{what} {counts[what]}"

    def of(self, tensor: str) -> str:
        """The layer that uses a weight: ``conv 3``, ``dense 2``; "" for what is used in none."""
        node = self._places.node(tensor)
        return self._names.get(id(node), "")


def kind(op: str) -> str:
    """What a person calls a layer with this operator."""
    if "Conv" in op:
        return "transposed conv" if "Transpose" in op else "conv"
    if op in _DENSE:
        return "dense"
    if op in _EMBEDDINGS:
        return "embedding"
    if recurrent := re.search(r"LSTM|GRU|RNN", op):
        return recurrent[0].lower()
    if "Attention" in op:
        return "attention"
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", op).lower()
