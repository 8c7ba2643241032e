"""Running a network node by node on calibration samples, with parameters that may change on the way."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.external_data_helper import uses_external_data

from spa_cli.graph.bodies import captured_names
from spa_cli.graph.external import array_of, put, read_in
from spa_cli.graph.model import Array, Graph, Node
from spa_cli.graph.sparse import dense, store
from spa_cli.runtime.providers import CPU, chosen
from spa_cli.runtime.session import open_session
from spa_cli.runtime.store import Kept, Store
from spa_cli.threads import each

# sessions that are open at once: what is asked for in turns; regions that are remembered
_SESSIONS, _REGIONS = 2, 256

# the nodes between tensors, what they are fed, and the parameters they read
_Region = tuple[list[onnx.NodeProto], list[str], list[str]]


def last_uses(graph: Graph) -> dict[int, list[str]]:
    """Tensors nobody reads any more after each node (by position in the graph)."""
    last = {name: at for at, node in enumerate(graph.nodes) for name in {*node.inputs, *captured_names(node.proto)}}
    ends: dict[int, list[str]] = {}
    for name, at in last.items():
        if name not in graph.outputs:
            ends.setdefault(at, []).append(name)
    return ends


class Values(Sequence[Any]):
    """What a tensor holds, chunk by chunk: worked out when it is asked for, and kept."""

    def __init__(self, side: Interpreter, name: str) -> None:
        self._side, self._name = side, name

    def __len__(self) -> int:
        return self._side.count

    def __getitem__(self, chunk: Any) -> Any:
        # past the end this raises what iteration waits for
        return self._side.kept(self._name, range(len(self))[chunk]).get()

    def shape(self, chunk: int) -> tuple[int, ...]:
        """The shape of a chunk."""
        return self._side.kept(self._name, chunk).shape

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shape of every chunk."""
        return [*each(self.shape, range(len(self)))]


class Interpreter:
    """A network while it is walked: its values per chunk, its parameters.

    ``values``: of the tensors whose node has run, and that were not dropped. Running a node only says that its outputs
    may be asked for: they are worked out then, in one run of all nodes from the nearest tensors that are kept.

    ``replaced``: parameters that have other values by now than in the model.

    ``threads``: that a run of a chunk takes, ``None``: all there are.

    ``own_files``: parameters in the files of ``folder`` may be replaced there. Else new ones are kept in the model.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        folder: str,
        chunks: list[dict[str, Array]],
        store: Store | None = None,
        own_files: bool = False,
    ) -> None:
        self.model, self._folder, self._own_files = model, folder, own_files
        self._store = store or Store(math.inf)
        self._nodes = {o: n for n in model.graph.node for o in n.output if o}
        self._order = {o: at for at, n in enumerate(model.graph.node) for o in n.output if o}
        self._tensors = {t.name: t for t in model.graph.initializer}
        for node in model.graph.node:
            for attribute in node.attribute:
                if node.op_type == "Constant" and attribute.name == "value":
                    self._tensors[node.output[0]] = attribute.t
        self._sparse = {s.values.name: s for s in model.graph.sparse_initializer}
        self._tensors.update((name, dense(s)) for name, s in self._sparse.items())
        self._arrays: dict[str, Array] = {}
        # what was replaced since somebody asked
        self._written: dict[str, Array] = {}
        self.replaced: set[str] = set()
        self._done: set[str] = set()
        self.count = len(chunks)
        self._given = frozenset(chunks[0])
        # the samples themselves are in memory as it is
        given = Store(math.inf)
        self._kept: list[dict[str, Kept]] = [{n: given.put(v) for n, v in c.items()} for c in chunks]
        # a tensor, or a list of tensors where a node gives a sequence
        self.values: dict[str, Values] = {n: Values(self, n) for n in chunks[0]}
        self._sessions: dict[tuple[Any, ...], Any] = {}
        self._regions: dict[tuple[tuple[str, ...], frozenset[str]], _Region] = {}
        # several chunks may be asked for at the same time, each by one thread: small tensors are hardly faster on more
        self._opening, self.threads = Lock(), 1 if self.count > 1 and chosen() == CPU else None

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

    def producer(self, name: str) -> onnx.NodeProto | None:
        """The node that gives a tensor, as it stands in this network."""
        return self._nodes.get(name)

    def parameter(self, name: str) -> Array | None:
        """Value of an initializer or Constant, ``None`` if there is none of that name."""
        tensor = self._tensors.get(name)
        if tensor is not None and uses_external_data(tensor):
            # of a large network all of them don't fit
            return array_of(tensor, self._folder)
        if name not in self._arrays and tensor is not None:
            self._arrays[name] = array_of(tensor, self._folder)
        return self._arrays.get(name)

    def value(self, name: str, chunk: int) -> Array | None:
        """Value of an initializer or of a tensor worked out so far."""
        if name in self.values:
            return np.asarray(self.values[name][chunk])
        return self.parameter(name) if name else None

    def write(self, name: str, value: Array) -> None:
        """Replace an initializer or the value of a Constant."""
        old = self._tensors[name]
        array = np.asarray(value, order="C").astype(helper.tensor_dtype_to_np_dtype(old.data_type))
        self._written[name] = array
        self.replaced.add(name)
        if uses_external_data(old) and self._own_files:
            self._sessions.clear()
            put(old, self._folder, array)
            return
        doc = old.doc_string
        old.CopyFrom(numpy_helper.from_array(array, old.name))
        old.doc_string = doc
        if name in self._sparse:
            store(self._sparse[name], array)
        self._arrays[name] = array
        self._sessions.clear()

    def taken(self) -> dict[str, Array]:
        """The parameters that were replaced since this was asked last."""
        found, self._written = self._written, {}
        return found

    def drop(self, name: str) -> None:
        """Forget the values of a tensor that nobody reads any more."""
        if self.values.pop(name, None) is not None:
            self._release(range(self.count))

    def run(self, proto: onnx.NodeProto, again: bool = False) -> None:
        """The outputs of a node may be asked for from now on.

        Of a node that has run before that changes nothing unless asked: ``again``, because its parameters have changed.
        """
        outputs = [o for o in proto.output if o]
        if all(o in self._tensors or (o in self._done and not again) for o in outputs):
            return
        self._done.update(outputs)
        self._forget(outputs)
        self.values.update({name: Values(self, name) for name in outputs})

    def kept(self, name: str, chunk: int) -> Kept:
        """The value of a tensor for one chunk, worked out if it is not at hand."""
        here = self._kept[chunk]
        if name not in here:
            (value,) = self.peek([name], chunk)
            here[name] = self._store.put(value)
            self._release([chunk])
        return here[name]

    def take(self, chunk: dict[str, Array], at_hand: Mapping[str, Kept], anew: bool) -> None:
        """Go on with another chunk in place of the only one, of which this is at hand; ``anew``: for other tensors."""
        if anew:
            self._sessions.clear()
        given = Store(math.inf)
        self._kept = [{**{n: given.put(v) for n, v in chunk.items()}, **at_hand}]

    def peek(self, names: Sequence[str], chunk: int, which: Sequence[int] = (), of: int = 0) -> list[Any]:
        """Values of several tensors for one chunk, from one run, and nothing of it is kept.

        ``which`` of its samples, where that is said; ``of`` how many. Raises what onnxruntime raises.
        """
        here = self._kept[chunk]
        wanted = [n for n in names if n not in here]
        made: dict[str, Any] = {}
        if wanted:
            nodes, fed, constants = self._region(wanted, here)
            values = {name: self._some(name, chunk, which, of) for name in fed}
            # what is declared of the inputs may differ from chunk to chunk
            key = (*wanted, "", *(_declaration(name, value) for name, value in values.items()))
            with self._opening:
                if key not in self._sessions:
                    while len(self._sessions) >= _SESSIONS:
                        self._sessions.pop(next(iter(self._sessions)))
                    inputs = [self._declared(name, value) for name, value in values.items()]
                    model = self._model_of(nodes, inputs, wanted, [self._constant(n) for n in constants])
                    self._sessions[key] = open_session(
                        model, providers=chosen(), arena=False, folder=self._folder, threads=self.threads
                    )
                session = self._sessions[key]
            made = dict(zip(wanted, session.run(wanted, values), strict=True))
        return [made[n] if n in made else self._some(n, chunk, which, of) for n in names]

    def _some(self, name: str, chunk: int, which: Sequence[int], of: int) -> Any:
        """What is kept of a tensor, of some samples where it has them along its first axis."""
        value = self._kept[chunk][name].get()
        # sizes, or one number a channel, may be as many
        listed = name not in self._given and np.ndim(value) <= 1
        return value if not of or isinstance(value, list) or listed or len(value) != of else value[which]

    def _region(self, names: Iterable[str], here: dict[str, Kept]) -> _Region:
        """The nodes between what is kept and tensors, what they are fed, and the parameters they read."""
        key = tuple(names), frozenset(here)
        found = self._regions.get(key)
        if found is None:
            found = self._found(*key)
            if len(self._regions) >= _REGIONS:
                self._regions = {}
            self._regions[key] = found
        return found

    def _found(self, names: tuple[str, ...], here: frozenset[str]) -> _Region:
        nodes: dict[int, onnx.NodeProto] = {}
        fed, constants = dict[str, None](), dict[str, None]()
        stack = [n for n in names if n not in here]
        while stack:
            at = self._order[stack.pop()]
            if at in nodes:
                continue
            node = nodes[at] = self.model.graph.node[at]
            for name in filter(None, {*node.input, *captured_names(node)}):
                if name in here:
                    fed[name] = None
                elif name in self._tensors:
                    constants[name] = None
                elif name in self._order:
                    stack.append(name)
        return [nodes[at] for at in sorted(nodes)], sorted(fed), sorted(constants)

    def _release(self, chunks: Iterable[int]) -> None:
        """Forget what is neither asked for nor needed to work out what is."""
        needed: dict[frozenset[str], set[str]] = {}
        for chunk in chunks:
            here = self._kept[chunk]
            if here.keys() <= self.values.keys():
                continue
            found = frozenset(here)
            if found not in needed:
                missing = [n for n in self.values if n not in here]
                needed[found] = {*self._region(missing, here)[1]}
            for name in found - self.values.keys() - needed[found]:
                here.pop(name).free()

    def _forget(self, names: Iterable[str]) -> None:
        for here in self._kept:
            for name in names:
                if name in here:
                    here.pop(name).free()

    def undo(self, proto: onnx.NodeProto) -> None:
        """As if the node had not run."""
        self._done.difference_update(proto.output)
        self._forget(proto.output)
        for name in proto.output:
            self.values.pop(name, None)
        self._release(range(self.count))

    def part(self, nodes: Sequence[onnx.NodeProto], given: Mapping[str, Array], end: str) -> onnx.ModelProto:
        """A model of ``nodes`` alone, with the parameters they have by now, from tensors ``given`` to ``end``."""
        made = {o for n in nodes for o in n.output}
        read = dict.fromkeys(i for n in nodes for i in n.input if i and i not in given and i not in made)
        kinds = {name: helper.np_dtype_to_tensor_dtype(value.dtype) for name, value in given.items()}
        inputs = [helper.make_tensor_value_info(n, k, [None] * given[n].ndim) for n, k in kinds.items()]
        part = self._model_of(nodes, inputs, [end], [self._constant(name) for name in read])
        read_in(part, self._folder)
        return part

    def _constant(self, name: str) -> onnx.TensorProto:
        tensor: onnx.TensorProto = self._tensors[name]
        if tensor.name == name:
            # what lies in a file stays there, onnxruntime maps it
            return tensor
        if uses_external_data(tensor):
            called = onnx.TensorProto()
            called.CopyFrom(tensor)
            called.name = name
            return called
        return numpy_helper.from_array(numpy_helper.to_array(tensor), name)

    def _declared(self, name: str, value: Any) -> onnx.ValueInfoProto:
        if isinstance(value, list):
            return _sequence_info(name, value)
        _, kind, sizes = _declaration(name, value)
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(kind), sizes)

    def _model_of(
        self,
        nodes: Sequence[onnx.NodeProto],
        inputs: list[onnx.ValueInfoProto],
        outputs: list[str],
        constants: list[onnx.TensorProto],
    ) -> onnx.ModelProto:
        found = [helper.make_empty_tensor_value_info(o) for o in outputs]
        given = {info.name for info in inputs}
        graph = helper.make_graph([_but(node, given) for node in nodes], "nodes", inputs, found, constants)
        return helper.make_model(graph, opset_imports=self.model.opset_import, ir_version=self.model.ir_version)


def _declaration(name: str, value: Any) -> tuple[str, Any, tuple[int | None, ...]]:
    """What is declared of a value: name, type, sizes; a plain tuple, as it is asked for of every chunk."""
    if isinstance(value, list):
        return name, value[0].dtype if value else None, ()
    array = np.asarray(value)
    # inference reads the length of a list of sizes; everything else may change from chunk to chunk
    listed = array.ndim <= 1 and array.dtype.kind in "iu"
    return name, array.dtype, array.shape if listed else (None,) * array.ndim


def _but(node: onnx.NodeProto, given: set[str]) -> onnx.NodeProto:
    """A node that also makes what is ``given``, under other names."""
    if given.isdisjoint(node.output):
        return node
    other = onnx.NodeProto()
    other.CopyFrom(node)
    other.output[:] = [f"{o}/made again" if o in given else o for o in node.output]
    return other


def _sequence_info(name: str, values: list[Array]) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(values[0].dtype) if values else onnx.TensorProto.FLOAT
    return helper.make_tensor_sequence_value_info(name, kind, None)
