"""A read-only view of an ONNX file: nodes in topological order, parameters, graph inputs and outputs.

The view never replaces the file's ``ModelProto``: surgery edits a copy of that in place, so that whatever a rewrite of
the graph would lose (metadata, doc strings, quantisation annotations, sparse initializers) stays where it was.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx.external_data_helper import uses_external_data

from spa_cli.errors import ModelError
from spa_cli.graph.external import INLINE_LIMIT, MAPPED, array_of, read_in
from spa_cli.graph.stored import bytes_of

Array = NDArray[Any]

FLOAT_TYPES = frozenset(
    {
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.BFLOAT16,
        onnx.TensorProto.DOUBLE,
        onnx.TensorProto.FLOAT8E4M3FN,
        onnx.TensorProto.FLOAT8E5M2,
    }
)
QUANTIZED_TYPES = frozenset(
    {
        onnx.TensorProto.INT8,
        onnx.TensorProto.UINT8,
        onnx.TensorProto.INT4,
        onnx.TensorProto.UINT4,
    }
)


@dataclass(frozen=True, eq=False)
class Node:
    """One operator call. ``inputs`` and ``outputs`` are tensor names, ``""`` where an optional one is absent.

    ``faults``: what was found wrong with it (``graph.guard``).
    """

    op: str
    domain: str
    name: str
    attrs: dict[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    version: int
    proto: onnx.NodeProto = field(repr=False)
    bodies: tuple[Body, ...] = field(default=(), repr=False)
    faults: list[str] = field(default_factory=list, repr=False)

    def input(self, index: int) -> str:
        """Name of input ``index``, ``""`` if the node has none there."""
        return self.inputs[index] if index < len(self.inputs) else ""

    def attr(self, name: str, default: Any = None) -> Any:
        """Value of an attribute, or ``default``."""
        return self.attrs.get(name, default)

    @property
    def label(self) -> str:
        """What to call this node in a message: its name, or its operator and output if it has none."""
        return self.name or f"{self.op}->{self.outputs[0] if self.outputs else '?'}"


@dataclass(frozen=True, eq=False)
class Body:
    """A graph inside a control-flow node. It sees the tensors around it; its own have names of their own (``load``)."""

    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    proto: onnx.GraphProto = field(repr=False)


@dataclass(eq=False)
class Graph:
    """A model, as the analysis reads it.

    ``nodes`` are those of the main graph, ``all_nodes`` those of the bodies too, each before the node it belongs to.
    ``parameters`` maps every initializer and every tensor-valued Constant node's output, in any body, to its
    TensorProto (the one inside ``model``, not a copy; a dense copy of a sparse one). ``hidden`` are those of them that
    are not plain tensors of the main graph: sparse ones, and those inside bodies. ``formulas`` remembers which of them
    nothing was trained in (``graph.formulas``).
    """

    model: onnx.ModelProto
    folder: str
    nodes: list[Node]
    all_nodes: list[Node]
    parameters: dict[str, onnx.TensorProto]
    hidden: frozenset[str]
    inputs: dict[str, onnx.ValueInfoProto]
    outputs: list[str]
    consumers: dict[str, list[Node]]
    producers: dict[str, Node]
    formulas: dict[str, bool] = field(default_factory=dict)

    @property
    def opset(self) -> int:
        """Version of the default operator set."""
        return max((o.version for o in self.model.opset_import if o.domain in ("", "ai.onnx")), default=1)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a parameter."""
        return tuple(self.parameters[name].dims)

    def array(self, name: str) -> Array:
        """Values of a parameter, from its external file if need be; raises ModelError if they don't fit."""
        try:
            return array_of(self.parameters[name], self.folder)
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"the values of '{name}' don't fill its shape {list(self.shape(name))}; export again"
            ) from error

    def readers(self, name: str) -> list[Node]:
        """Nodes that read a tensor's values, not only its shape or its type."""
        return [n for n in self.consumers.get(name, []) if not _blind(n, name)]

    def only_reader(self, name: str) -> Node | None:
        """The node that alone reads a tensor's values; ``None`` if several do or it is a graph output."""
        return _only(self.readers(name)) if name not in self.outputs else None

    def only_consumer(self, name: str) -> Node | None:
        """The node that alone has a tensor as an input; ``None`` if several have or it is a graph output."""
        return _only(self.consumers.get(name, [])) if name not in self.outputs else None

    def in_memory(self) -> onnx.ModelProto:
        """A copy of the model with its external data read in."""
        copy = onnx.ModelProto()
        copy.CopyFrom(self.model)
        if self.folder:
            read_in(copy, self.folder)
        return copy

    @property
    def mapped(self) -> bool:
        """Whether weights stay in their files when it is run, because there are too many to be read in."""
        return bool(self.folder) and sum(map(bytes_of, filter(uses_external_data, self.parameters.values()))) > MAPPED

    @property
    def too_large(self) -> str:
        """What its weights take, if they don't go into one message, which whoever holds it in memory needs; else ""."""
        size = sum(map(bytes_of, self.parameters.values()))
        return f"{size / 1e9:.3g} GB" if size > INLINE_LIMIT else ""

    def to_run(self) -> onnx.ModelProto:
        """A copy of the model for a session that knows its ``folder``: in memory, or ``mapped``."""
        copy = onnx.ModelProto()
        copy.CopyFrom(self.model)
        if self.folder and not self.mapped:
            read_in(copy, self.folder)
        return copy

    def weights(self) -> list[str]:
        """Names of the parameters that hold numbers a network learns: floating point, or quantised integers."""
        return [n for n, t in self.parameters.items() if self._is_weight(n, t) and len(t.dims)]

    def _is_weight(self, name: str, tensor: onnx.TensorProto) -> bool:
        if tensor.data_type in FLOAT_TYPES or tensor.data_type in QUANTIZED_TYPES:
            return True
        quantised = ("DequantizeLinear", "QLinearConv", "QGemm")
        return tensor.data_type == onnx.TensorProto.INT32 and any(
            n.op in quantised for n in self.consumers.get(name, ())
        )


def _only(nodes: list[Node]) -> Node | None:
    return nodes[0] if len(nodes) == 1 else None


def _blind(node: Node, name: str) -> bool:
    return node.op in ("Shape", "Size") or (node.op == "CastLike" and node.inputs[0] != name)
