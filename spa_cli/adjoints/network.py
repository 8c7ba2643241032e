"""The gradient graph of a model: the model, and behind it the adjoints of its nodes from the last to the first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import onnx

from spa_cli.adjoints.assemble import assemble
from spa_cli.adjoints.emitter import Emitter, NoAdjoint, Value
from spa_cli.adjoints.expand import Expanded, expand
from spa_cli.adjoints.flow import Flow
from spa_cli.adjoints.sizes import Sizes
from spa_cli.adjoints.table import Call, record_of
from spa_cli.graph.guard import guarded
from spa_cli.graph.model import Graph, Node
from spa_cli.graph.shapes import Shapes

# below, operands were broadcast by attributes
OLDEST = 7
# why there is no gradient where it would be zero
UNREACHED = "no output depends on it through derivatives"


@dataclass(frozen=True, eq=False)
class Adjoint:
    """A model that also gives gradients.

    ``model``: beside the graph's own inputs it has one per output, named ``cotangents[output]``; it gives the outputs,
    then the gradients. ``gradients``: of a wanted tensor the output which holds its gradient, of the sum of all outputs
    times their cotangents. ``missing``: of the other wanted tensors why they have none. ``reached``: outputs that
    depend on a wanted tensor through derivatives, known or not.
    """

    model: onnx.ModelProto
    gradients: dict[str, str]
    missing: dict[str, str]
    cotangents: dict[str, str]
    reached: frozenset[str] = frozenset()


def adjoint(graph: Graph, shapes: Shapes, wanted: Iterable[str], outputs: Iterable[str]) -> Adjoint:
    """The gradient graph of ``outputs`` in the tensors ``wanted``."""
    wanted, outputs = list(dict.fromkeys(wanted)), list(dict.fromkeys(outputs))
    if graph.opset < OLDEST:
        reason = f"opset {graph.opset} is too old; adjoints are known from opset {OLDEST} on"
        emit = Emitter(graph.opset, _names(graph))
        inputs = {o: Value(emit, emit.fresh(f"cotangent/{o}"), shapes.dtype.get(o, 1)) for o in outputs}
        model = assemble(graph.to_run(), emit, inputs, [], Sizes(graph, shapes))
        return Adjoint(model, {}, dict.fromkeys(wanted, reason), {o: v.name for o, v in inputs.items()})
    taken = _names(graph)
    return _Back(expand(graph, shapes, taken), wanted, outputs, taken).result()


class _Back:
    """One walk from the outputs back."""

    def __init__(self, parts: Expanded, wanted: list[str], outputs: list[str], taken: set[str]) -> None:
        graph = parts.graph
        self._graph, self._wanted, self._outputs, self._declined = graph, wanted, outputs, parts.declined
        self._sizes = Sizes(graph, parts.shapes)
        self._flow = Flow(graph, parts.shapes, wanted, parts.integers)
        self._emit = Emitter(graph.opset, taken)
        self._cotangents: dict[str, list[Value]] = {}
        # tensors whose gradient would lack a part, and why
        self._broken: dict[str, str] = {}
        self._model = graph.to_run()
        self._protos = {name: node for node in self._model.graph.node for name in node.output if name}

    def result(self) -> Adjoint:
        inputs: dict[str, Value] = {}
        for name in self._outputs:
            inputs[name] = Value(self._emit, self._emit.fresh(f"cotangent/{name}"), self._sizes.dtype(name))
            if self._flow.reaches(name):
                self._cotangents[name] = [inputs[name]]
        for node in reversed(self._graph.nodes):
            self._through(node)
        found: dict[str, str] = {}
        missing: dict[str, str] = {}
        for name in self._wanted:
            if name in self._broken:
                missing[name] = self._broken[name]
            elif name in self._cotangents:
                found[name] = self._emit.fresh(f"gradient/{name}")
                self._emit.ops("Identity", [self._cotangent(name)], 1, names=[found[name]])
            else:
                missing[name] = UNREACHED
        model = assemble(self._model, self._emit, inputs, list(found.values()), self._sizes)
        reached = frozenset(name for name in self._outputs if self._flow.reaches(name))
        return Adjoint(model, found, missing, {name: value.name for name, value in inputs.items()}, reached)

    def _cotangent(self, name: str) -> Value | None:
        values = self._cotangents.get(name)
        if not values or name in self._broken:
            return None
        self._cotangents[name] = [self._emit.total(values)]
        return self._cotangents[name][0]

    def _through(self, node: Node) -> None:
        broken = next((self._broken[o] for o in node.outputs if o in self._broken), None)
        if broken is None and not any(o in self._cotangents for o in node.outputs):
            return
        wanted = self._flow.inputs(node)
        if not wanted:
            return
        if broken is not None:
            self._break([name for _, name in wanted], broken)
            return
        record = record_of(node)
        what = f"{node.domain}::{node.op}" if node.domain else node.op
        subject = f"operator {what} (node '{node.label}')"
        if record is None or record.rule is None:
            reason = record.reason if record else self._declined.get(node.label, "")
            self._break(
                [name for _, name in wanted], f"{subject} has no adjoint" + (f" here: {reason}" if reason else "")
            )
            return
        cotangents = [self._cotangent(o) if self._flow.carries(o) else None for o in node.outputs]
        call = Call(node, self._emit, self._sizes, cotangents, self._also)
        try:
            for index, given in enumerate(cotangents):
                if given is not None and record.outputs is not None and index not in record.outputs:
                    raise NoAdjoint(f"its output {index} is used")
            with guarded(node, NoAdjoint):
                gradients = record.rule(call)
        except NoAdjoint as reason:
            self._break([name for _, name in wanted], f"{subject} has no adjoint here: {reason}")
            return
        found = {0: gradients} if isinstance(gradients, Value) else gradients
        for index, name in wanted:
            try:
                if index not in found:
                    raise NoAdjoint(f"none in its input {index}")
                gradient = found[index]
                with guarded(node, NoAdjoint):
                    value = gradient if isinstance(gradient, Value) else gradient()
                self._cotangents.setdefault(name, []).append(value)
            except NoAdjoint as reason:
                self._break([name], f"{subject} has no adjoint here: {reason}")

    def _break(self, names: Iterable[str], reason: str) -> None:
        for name in names:
            self._broken.setdefault(name, reason)

    def _also(self, node: Node, index: int) -> str:
        """Make a node give another output."""
        proto = self._protos[next(o for o in node.outputs if o)]
        while len(proto.output) <= index:
            proto.output.append("")
        if not proto.output[index]:
            proto.output[index] = self._emit.fresh(f"adjoint/{node.op}/{index}")
        return str(proto.output[index])


def _names(graph: Graph) -> set[str]:
    """All names of tensors and of nodes."""
    tensors = {name for node in graph.all_nodes for name in (*node.inputs, *node.outputs, node.name)}
    return tensors | set(graph.parameters) | set(graph.inputs) | set(graph.outputs)
