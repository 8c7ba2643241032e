"""A read-only view of an ONNX file: nodes in topological order, parameters, graph inputs and outputs.

Reading rests on onnx-graphsurgeon (attribute values, topological order). The view never replaces the file's
``ModelProto``: surgery edits a copy of that in place, so that whatever a rewrite of the graph would lose
(metadata, doc strings, quantisation annotations, sparse initializers) stays where it was.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.external_data_helper import load_external_data_for_model, uses_external_data
from onnx_graphsurgeon.logger import G_LOGGER

from spa_cli.errors import ModelError

# graphsurgeon prints its own remarks (bfloat16, unnamed nodes) to stdout; ours is a report, theirs would break --json
G_LOGGER.severity = G_LOGGER.CRITICAL

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
    """One operator call. ``inputs`` and ``outputs`` are tensor names, ``""`` where an optional one is absent."""

    op: str
    domain: str
    name: str
    attrs: dict[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    version: int
    proto: onnx.NodeProto = field(repr=False)

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


@dataclass(eq=False)
class Graph:
    """The main graph of a model, as the analysis reads it.

    ``parameters`` maps every dense initializer and every tensor-valued Constant node's output to its TensorProto
    (the one inside ``model``, not a copy); ``sparse`` maps sparse ones to their dense shape.
    """

    model: onnx.ModelProto
    folder: str
    nodes: list[Node]
    parameters: dict[str, onnx.TensorProto]
    sparse: dict[str, tuple[int, ...]]
    inputs: dict[str, onnx.ValueInfoProto]
    outputs: list[str]
    consumers: dict[str, list[Node]]
    producers: dict[str, Node]

    @property
    def opset(self) -> int:
        """Version of the default operator set."""
        return max((o.version for o in self.model.opset_import if _domain(o.domain) == ""), default=1)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a parameter."""
        return tuple(self.parameters[name].dims)

    def array(self, name: str) -> Array:
        """Values of a parameter, from its external file if need be; raises ModelError if they don't fit."""
        try:
            return numpy_helper.to_array(self.parameters[name], self.folder)
        except ValueError as error:
            raise ModelError(
                f"the values of '{name}' don't fill its shape {list(self.shape(name))}; export again"
            ) from error

    def in_memory(self) -> onnx.ModelProto:
        """A copy of the model with its external data read in."""
        copy = onnx.ModelProto()
        copy.CopyFrom(self.model)
        if any(uses_external_data(t) for t in copy.graph.initializer):
            load_external_data_for_model(copy, self.folder)
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


def build(model: onnx.ModelProto, folder: str) -> Graph:
    """The view of ``model``; ``folder`` is where its external data lies (``""`` for none)."""
    graph = model.graph
    nodes = _nodes(model)
    parameters = {t.name: t for t in graph.initializer}
    for node in nodes:
        if node.op == "Constant":
            for attribute in node.proto.attribute:
                if attribute.name == "value":
                    parameters[node.outputs[0]] = attribute.t
    sparse = {s.values.name: tuple(s.dims) for s in graph.sparse_initializer}
    consumers: dict[str, list[Node]] = defaultdict(list)
    for node in nodes:
        for name in node.inputs:
            consumers[name].append(node)
    return Graph(
        model=model,
        folder=folder,
        nodes=nodes,
        parameters=parameters,
        sparse=sparse,
        inputs={v.name: v for v in graph.input if v.name not in parameters and v.name not in sparse},
        outputs=[v.name for v in graph.output],
        consumers=dict(consumers),
        producers={name: node for node in nodes for name in node.outputs if name},
    )


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The bodies of a control-flow node, outermost first, and the bodies inside them."""
    for attribute in node.attribute:
        for body in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
            yield body
            for inner in body.node:
                yield from subgraphs(inner)


def captured_names(node: onnx.NodeProto) -> set[str]:
    """Tensors of the outer graph that the bodies of ``node`` read (over-approximated by name)."""
    return {n for body in subgraphs(node) for inner in body.node for n in inner.input if n} | {
        output.name for body in subgraphs(node) for output in body.output
    }


def _nodes(model: onnx.ModelProto) -> list[Node]:
    protos = list(model.graph.node)
    surgeon = gs.import_onnx(_importable(model))
    proto_of = {id(node): proto for node, proto in zip(surgeon.nodes, protos, strict=True)}
    if not _ordered(model.graph):
        surgeon.toposort(recurse_subgraphs=False, mode="nodes")
    versions = {_domain(o.domain): o.version for o in model.opset_import}
    return [
        Node(
            op=node.op,
            domain=_domain(node.domain or ""),
            name=node.name,
            attrs=dict(node.attrs),
            inputs=tuple(proto_of[id(node)].input),
            outputs=tuple(proto_of[id(node)].output),
            version=versions.get(_domain(node.domain or ""), 1),
            proto=proto_of[id(node)],
        )
        for node in surgeon.nodes
    ]


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _ordered(graph: onnx.GraphProto) -> bool:
    later = {name for node in graph.node for name in node.output if name}
    for node in graph.node:
        if any(name in later for name in node.input):
            return False
        later.difference_update(node.output)
    return True


def _importable(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model that graphsurgeon can import: nodes, and no weights.

    Its importer decodes every string attribute as UTF-8 (custom operators carry binary blobs there) and follows
    functions and bodies, which this view doesn't need.
    """
    light = onnx.ModelProto(ir_version=model.ir_version)
    light.opset_import.extend(model.opset_import)
    for node in model.graph.node:
        copy = light.graph.node.add()
        copy.input.extend(node.input)
        copy.output.extend(node.output)
        copy.op_type, copy.domain, copy.name = node.op_type, node.domain, node.name
        for attribute in node.attribute:
            if not all(map(_is_text, (attribute.s, *attribute.strings))):
                continue
            if attribute.type in _PLAIN_ATTRIBUTES:
                copy.attribute.append(attribute)
    return light


_PLAIN_ATTRIBUTES = frozenset(
    {
        onnx.AttributeProto.FLOAT,
        onnx.AttributeProto.INT,
        onnx.AttributeProto.STRING,
        onnx.AttributeProto.FLOATS,
        onnx.AttributeProto.INTS,
        onnx.AttributeProto.STRINGS,
    }
)


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
