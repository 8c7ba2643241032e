"""Running a network node by node on calibration samples, with parameters that may change on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.external_data_helper import load_external_data_for_model, uses_external_data

from spa_cli.graph.bodies import captured_names
from spa_cli.graph.model import Array, Graph, Node
from spa_cli.graph.sparse import dense, store
from spa_cli.runtime.providers import chosen
from spa_cli.runtime.session import open_session


def last_uses(graph: Graph) -> dict[int, list[str]]:
    """Tensors nobody reads any more after each node (by position in the graph)."""
    last = {name: at for at, node in enumerate(graph.nodes) for name in {*node.inputs, *captured_names(node.proto)}}
    ends: dict[int, list[str]] = {}
    for name, at in last.items():
        if name not in graph.outputs:
            ends.setdefault(at, []).append(name)
    return ends


class Interpreter:
    """A network while it is walked: its values per chunk, its parameters."""

    def __init__(self, model: onnx.ModelProto, folder: str, chunks: list[dict[str, Array]]) -> None:
        self.model, self._folder = model, folder
        self._nodes = {o: n for n in model.graph.node for o in n.output if o}
        self._tensors = {t.name: t for t in model.graph.initializer}
        for node in model.graph.node:
            for attribute in node.attribute:
                if node.op_type == "Constant" and attribute.name == "value":
                    self._tensors[node.output[0]] = attribute.t
        self._sparse = {s.values.name: s for s in model.graph.sparse_initializer}
        self._tensors.update((name, dense(s)) for name, s in self._sparse.items())
        self._arrays: dict[str, Array] = {}
        self._done: set[str] = set()
        # a tensor, or a list of tensors where a node gives a sequence
        self.values: dict[str, list[Any]] = {n: [c[n] for c in chunks] for n in chunks[0]}
        self._count = len(chunks)

    def can_run(self, nodes: Iterable[Node]) -> bool:
        """Whether nodes of the original are still there, one after the other, and all they read is at hand."""
        at_hand = {*self.values, *self._tensors}
        for node in nodes:
            proto = self._nodes.get(node.outputs[0])
            if proto is None or not {i for i in proto.input if i} <= at_hand:
                return False
            at_hand.update(proto.output)
        return True

    def node(self, node: Node) -> onnx.NodeProto:
        """A node of the original as it stands in this network."""
        found: onnx.NodeProto = self._nodes[node.outputs[0]]
        return found

    def parameter(self, name: str) -> Array | None:
        """Value of an initializer or Constant, ``None`` if there is none of that name."""
        if name not in self._arrays and name in self._tensors:
            self._arrays[name] = numpy_helper.to_array(self._tensors[name], self._folder)
        return self._arrays.get(name)

    def value(self, name: str, chunk: int) -> Array | None:
        """Value of an initializer or of a tensor worked out so far."""
        if name in self.values:
            return np.asarray(self.values[name][chunk])
        return self.parameter(name) if name else None

    def write(self, name: str, value: Array) -> None:
        """Replace an initializer or the value of a Constant."""
        old = self._tensors[name]
        array = np.asarray(value, order="C").astype(numpy_helper.to_array(old, self._folder).dtype)
        doc = old.doc_string
        old.CopyFrom(numpy_helper.from_array(array, old.name))
        old.doc_string = doc
        if name in self._sparse:
            store(self._sparse[name], array)
        self._arrays[name] = array

    def drop(self, name: str) -> None:
        """Forget the values of a tensor that nobody reads any more."""
        self.values.pop(name, None)

    def run(self, proto: onnx.NodeProto, again: bool = False) -> None:
        """Work out the outputs of a node for every chunk (one for all, if it depends on constants only).

        A node that has run is not run again unless asked: ``again``, because its parameters have changed.
        """
        outputs = [o for o in proto.output if o]
        if all(o in self._tensors or (o in self._done and not again) for o in outputs):
            return
        self._done.update(outputs)
        needed = [i for i in {*proto.input, *captured_names(proto)} if i]
        fed = [i for i in needed if i in self.values]
        constants = [self._in_memory(i) for i in needed if i in self._tensors and i not in self.values]
        if proto.op_type == "Constant" or not fed:
            results = [self._session(proto, [], constants, 0).run(None, {})] * self._count
        else:
            session = self._session(proto, fed, constants, 0)
            results = [session.run(None, {i: self.values[i][c] for i in fed}) for c in range(self._count)]
        for at, name in enumerate(outputs):
            self.values[name] = [r[at] for r in results]

    def extend(self, chunks: list[dict[str, Array]]) -> None:
        """More samples: work out for them, in one run a chunk, every tensor that is at hand.

        Parameters count as they are now. Raises what onnxruntime raises.
        """
        made = [name for name in self.values if name in self._nodes]
        results: list[dict[str, Any]] = [dict(chunk) for chunk in chunks]
        if made:
            session = open_session(self._up_to(made), providers=chosen())
            inputs = {i.name for i in session.get_inputs()}
            for result in results:
                fed = {name: value for name, value in result.items() if name in inputs}
                result.update(zip(made, session.run(made, fed), strict=True))
        for name, values in self.values.items():
            values += [result[name] for result in results]
        self._count += len(chunks)

    def _up_to(self, names: list[str]) -> onnx.ModelProto:
        """The part of the network that gives tensors of these names, in memory."""
        part = onnx.ModelProto()
        part.CopyFrom(self.model)
        if self._folder:
            load_external_data_for_model(part, self._folder)
        needed, kept = set(names), []
        for node in reversed(self.model.graph.node):
            if needed & {*node.output}:
                kept.append(node)
                needed |= {*node.input, *captured_names(node)}
        del part.graph.node[:], part.graph.output[:]
        part.graph.node.extend(kept[::-1])
        part.graph.output.extend(helper.make_empty_tensor_value_info(n) for n in names)
        return part

    def undo(self, proto: onnx.NodeProto) -> None:
        """As if the node had not run."""
        for name in proto.output:
            self._done.discard(name)
            self.values.pop(name, None)

    def function(self, nodes: list[onnx.NodeProto], start: str, end: str) -> Callable[[Array], Array] | None:
        """What ``nodes`` make of tensor ``start``, up to ``end``, for any number of samples.

        ``None`` if they need more than parameters, or one that differs from sample to sample.
        """
        made = {o for n in nodes for o in n.output}
        needed = dict.fromkeys(i for n in nodes for i in n.input if i and i != start and i not in made)
        if any(name not in self._tensors for name in needed):
            return None
        rank = np.ndim(self.values[start][0])
        dims = [self._tensors[name].dims for name in needed]
        if any(len(d) > rank or (len(d) == rank and d[0] != 1) for d in dims):
            return None
        kind = helper.np_dtype_to_tensor_dtype(self.values[start][0].dtype)
        given = helper.make_tensor_value_info(start, kind, [None] * np.ndim(self.values[start][0]))
        session = self._open(nodes, [given], [end], [self._in_memory(name) for name in needed])
        return lambda value: np.asarray(session.run(None, {start: value})[0])

    def _in_memory(self, name: str) -> onnx.TensorProto:
        tensor: onnx.TensorProto = self._tensors[name]
        if uses_external_data(tensor) or tensor.name != name:
            return numpy_helper.from_array(numpy_helper.to_array(tensor, self._folder), name)
        return tensor

    def _constant_length(self, name: str) -> bool:
        return len({np.shape(v) for v in self.values[name]}) == 1

    def _session(self, proto: onnx.NodeProto, fed: list[str], constants: list[onnx.TensorProto], chunk: int) -> Any:
        inputs = []
        for name in fed:
            value = self.values[name][chunk]
            if isinstance(value, list):
                inputs.append(_sequence_info(name, value))
                continue
            kind = helper.np_dtype_to_tensor_dtype(np.asarray(value).dtype)
            # inference reads the length of a list of sizes; everything else may change from chunk to chunk
            listed = np.ndim(value) <= 1 and np.asarray(value).dtype.kind in "iu" and self._constant_length(name)
            shape = list(np.shape(value)) if listed else [None] * np.ndim(value)
            inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return self._open([proto], inputs, [o for o in proto.output if o], constants)

    def _open(
        self,
        nodes: list[onnx.NodeProto],
        inputs: list[onnx.ValueInfoProto],
        outputs: list[str],
        constants: list[onnx.TensorProto],
    ) -> Any:
        found = [helper.make_empty_tensor_value_info(o) for o in outputs]
        graph = helper.make_graph(nodes, "nodes", inputs, found, constants)
        model = helper.make_model(graph, opset_imports=self.model.opset_import, ir_version=self.model.ir_version)
        return open_session(model, providers=chosen())


def _sequence_info(name: str, values: list[Array]) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(values[0].dtype) if values else onnx.TensorProto.FLOAT
    return helper.make_tensor_sequence_value_info(name, kind, None)
