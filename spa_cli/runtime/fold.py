"""Weights that are computed from other weights: weight normalisation, standardisation, low-rank updates.

Cutting a channel of what is normalised changes the norm of what stays; cutting the weight that comes out doesn't. A
layer's weight that only initializers feed is replaced by its value. What a cut and a refit can follow stays as it is:
transposed, cast, scaled and quantised weights.
"""

from __future__ import annotations

import math
import re
from collections import Counter

import onnx
from onnx import helper, numpy_helper

from spa_cli.graph.bodies import captured_names
from spa_cli.graph.external import array_of
from spa_cli.graph.shapes import interpret
from spa_cli.graph.source import Source
from spa_cli.graph.view import build
from spa_cli.runtime.session import open_session

# inputs with weights and biases
_LAYERS = {"Conv": (1, 2), "ConvTranspose": (1, 2), "Gemm": (0, 1, 2), "MatMul": (0, 1), "Einsum": (0, 1)}
_LAYERS |= dict.fromkeys(("LSTM", "GRU", "RNN"), (1, 2, 3))


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text))


_BEHIND = _words("Cast Identity Transpose")
_MOVES = _BEHIND | _words("Reshape Squeeze Unsqueeze Flatten Concat Slice Split Gather Pad Expand Tile Constant")
# plain where a parameter is the scale
_SCALES = _words("Mul Div")
_COMPUTES = _words(
    "Add Sub Neg Abs Sqrt Pow Reciprocal Exp Log Min Max Clip Where Equal Greater Less Not Sum Mean MatMul Gemm Einsum "
    "ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare LpNormalization Softplus "
    "Sigmoid Tanh Sign Shape Size ConstantOfShape InstanceNormalization BatchNormalization"
)
_INTEGERS = (onnx.TensorProto.INT32, onnx.TensorProto.INT64, onnx.TensorProto.BOOL)
# larger ones are tables, or not worth holding twice
_LARGEST = 100_000_000


class _Graph:
    """The main graph of a model, as far as folding asks."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.nodes = graph.node
        self.tensors = {t.name: t for t in graph.initializer}
        self.inputs = {v.name for v in graph.input}
        self.producers = {o: n for n in graph.node for o in n.output if o}
        for node in graph.node:
            if node.op_type == "Constant":
                self.tensors.update((node.output[0], a.t) for a in node.attribute if a.name == "value")
        every = Counter(i for n in graph.node for i in {*n.input, *captured_names(n)})
        self.readers = every + Counter(v.name for v in graph.output)
        self._fixed: dict[str, bool] = {}

    def fixed(self, name: str) -> bool:
        """Whether only parameters that are no graph inputs feed a tensor."""
        stack = [name]
        while stack:
            top = stack[-1]
            node = self.producers.get(top)
            if top in self.tensors or node is None or not node.input or node.domain not in ("", "ai.onnx"):
                self._fixed[top] = top in self.tensors and top not in self.inputs
            elif missing := [i for i in node.input if i and i not in self._fixed]:
                stack += missing
                continue
            else:
                self._fixed[top] = all(self._fixed[i] for i in node.input if i)
            stack.pop()
        return self._fixed[name]

    def above(self, name: str) -> list[onnx.NodeProto]:
        """The nodes that a tensor comes from, Constants too, in order."""
        needed = {name}
        found = []
        for node in reversed(self.nodes):
            if needed & {*node.output}:
                found.append(node)
                needed.update(node.input)
        return found[::-1]


def fold(source: Source) -> None:
    """Replace the weights of ``source`` that are computed from others by their values, with a warning."""
    graph = _Graph(source.model.graph)
    chains = {end: nodes for end in _ends(graph) if (nodes := _chain(graph, end))}
    values = {end: value for end, nodes in chains.items() if (value := _value(source, graph, end, nodes)) is not None}
    if not values:
        return
    names = {o for end in values for n in chains[end] for o in n.output}
    if source.path is None:
        # not ours to change
        copy = onnx.ModelProto()
        copy.CopyFrom(source.model)
        source.model = copy
    _replace(source.model.graph, values, names)
    listed = ", ".join(f"'{name}'" for name in list(values)[:3]) + (" and others" if len(values) > 3 else "")
    source.warnings.append(f"weights that are computed from others ({listed}) were replaced by their values")


def _ends(graph: _Graph) -> list[str]:
    """What layers multiply by, or add, that comes from parameters alone; without the Transpose or Cast behind it."""
    found: dict[str, None] = {}
    for node in graph.nodes:
        places = _LAYERS.get(node.op_type, ()) if node.domain in ("", "ai.onnx") else ()
        names = [node.input[at] for at in places if at < len(node.input) and node.input[at]]
        if all(graph.fixed(i) for i in node.input if i):
            continue
        for name in (n for n in names if graph.fixed(n)):
            while name not in graph.tensors and graph.producers[name].op_type in _BEHIND:
                name = graph.producers[name].input[0]
            found[name] = None
    return [name for name in found if name not in graph.tensors]


def _chain(graph: _Graph, end: str) -> list[onnx.NodeProto]:
    """The nodes that make a weight, if it is worth and safe to replace it; none if not."""
    nodes = graph.above(end)
    if not {n.op_type for n in nodes} <= _MOVES | _SCALES | _COMPUTES:
        return []
    if all(
        n.op_type in _MOVES or (n.op_type in _SCALES and not graph.tensors.keys().isdisjoint(n.input)) for n in nodes
    ):
        return []
    inside = Counter(i for n in nodes for i in {*n.input})
    for name, count in inside.items():
        tensor = graph.tensors.get(name)
        if tensor is None or tensor.data_type in _INTEGERS or max(tensor.dims, default=1) == 1:
            continue
        if graph.readers[name] > count:
            return []  # somebody else reads it: they would share it no longer
    return nodes


def _value(source: Source, graph: _Graph, end: str, nodes: list[onnx.NodeProto]) -> onnx.TensorProto | None:
    """What onnxruntime gives, ``None`` if it doesn't run or is too large."""
    made = {o for n in nodes for o in n.output}
    given = [graph.tensors[i] for i in dict.fromkeys(i for n in nodes for i in n.input) if i and i not in made]
    if sum(math.prod(t.dims) for t in given) > _LARGEST:
        return None
    leaves = [numpy_helper.from_array(array_of(t, source.folder), t.name) for t in given]
    part = helper.make_graph(nodes, "weight", [], [helper.make_empty_tensor_value_info(end)], leaves)
    opsets = source.model.opset_import
    model = helper.make_model(part, opset_imports=opsets, ir_version=source.model.ir_version)
    if not _stays_small(model):
        return None
    try:
        (value,) = open_session(model).run([end], {})
    except Exception:  # noqa: BLE001 - the weight is left as it is; whether the model runs is asked elsewhere
        return None
    return numpy_helper.from_array(value, end) if value.nbytes <= _LARGEST else None


def _stays_small(model: onnx.ModelProto) -> bool:
    """Whether all that is worked out on the way is known to be no larger than what is worth holding."""
    known = interpret(build(model, ""), {})
    for name in (o for node in model.graph.node for o in node.output if o):
        shape = known.shape.get(name)
        if shape is None or any(d is None for d in shape) or math.prod(d or 0 for d in shape) > _LARGEST:
            return False
    return True


def _replace(graph: onnx.GraphProto, values: dict[str, onnx.TensorProto], names: set[str]) -> None:
    """Put the values in; of the tensors with these ``names``, and of what they came from, go those nobody reads."""
    nodes = [n for n in graph.node if not values.keys() & {*n.output}]
    made = {i for n in graph.node if names & {*n.output} for i in n.input} | names
    while True:
        read = {i for n in nodes for i in {*n.input, *captured_names(n)}} | {v.name for v in graph.output}
        left = [n for n in nodes if not made & {*n.output} or read & {*n.output}]
        if len(left) == len(nodes):
            break
        nodes = left
    stored = [t for t in graph.initializer if t.name in read or t.name not in made]
    stored += values.values()
    known = [v for v in graph.value_info if v.name not in names or v.name in read]
    for field, kept in ((graph.node, nodes), (graph.initializer, stored), (graph.value_info, known)):
        copies = [type(each).FromString(each.SerializeToString()) for each in kept]
        del field[:]
        field.extend(copies)
