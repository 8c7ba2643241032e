"""Constants that blocks have left behind: the layer before takes one up where that is exact and costs nothing.

``x + c`` is ``x`` if ``c`` is zero; and where nothing else reads ``x``, and it is made by a layer with a bias (or by a
sum with what such a layer gives), the bias takes ``c`` up. So the blocks of a stage leave nothing behind where no
activation stands between them (inverted residuals, pre-norm transformers). Behind an activation the constant stays: the
layers that read it are padded with zeros, not with ``c``.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.external_data_helper import uses_external_data

from spa_cli.graph.bodies import all_nodes, graphs
from spa_cli.graph.model import Array
from spa_cli.operators.registry import records


def settled(model: onnx.ModelProto, held: Mapping[str, str]) -> onnx.ModelProto:
    """``model`` with as few as possible of its constants ``held`` (by the sum that reads each); a copy if any goes."""
    if not held:
        return model
    settling = _Settling(model)
    for output, name in held.items():
        settling.settle(output, name)
    return settling.model


class _Settling:
    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        graph = self.model.graph
        self._makers = {o: n for n in graph.node for o in n.output if o}
        self._tensors = {t.name: t for t in graph.initializer if not uses_external_data(t)}
        self._ends = {o.name for place in graphs(graph) for o in place.output}

    def settle(self, output: str, name: str) -> None:
        """Do without the sum that gives ``output``, if that can be."""
        total, tensor = self._makers[output], self._tensors.get(name)
        rest = [i for i in total.input if i != name]
        if tensor is None or total.op_type not in ("Add", "Sum") or len(rest) != 1 or output in self._ends:
            return
        value = numpy_helper.to_array(tensor)
        if value.any() and not self._added(rest[0], value, name):
            return
        graph = self.model.graph
        for node in all_nodes(graph):
            for at, read in enumerate(node.input):
                if read == output:
                    node.input[at] = rest[0]
        graph.node.remove(total)
        for info in [v for v in graph.value_info if v.name == output]:
            graph.value_info.remove(info)
        if not self._reads(name):
            graph.initializer.remove(tensor)
            for listed in [v for v in graph.input if v.name == name]:
                graph.input.remove(listed)
        del self._makers[output]

    def _reads(self, name: str) -> int:
        """How often a tensor is read."""
        return sum(list(n.input).count(name) for n in all_nodes(self.model.graph))

    def _added(self, x: str, value: Array, name: str) -> bool:
        """Whether the constant could be added to ``x`` where that is made; nothing has changed if not."""
        maker = self._makers.get(x)
        if maker is None or maker.domain not in ("", "ai.onnx") or x in self._ends or self._reads(x) != 1:
            return False
        if maker.op_type == "Add":
            own = next((i for i in maker.input if i in self._tensors), None)
            if own is None:
                return any(self._added(i, value, name) for i in maker.input)
            return self._to_bias(own, value)
        at, channel = self._bias_of(maker, value.ndim)
        if at < 0 or any(size > 1 for axis, size in enumerate(value.shape) if axis != channel):
            return False
        if len(maker.input) > at and maker.input[at]:
            return self._to_bias(maker.input[at], value.reshape(-1))
        if self.model.ir_version < 4:
            return False
        # the constant itself becomes the bias
        self._tensors[name].CopyFrom(numpy_helper.from_array(value.reshape(-1), name))
        maker.input.extend([""] * (at + 1 - len(maker.input)))
        maker.input[at] = name
        return True

    def _bias_of(self, node: onnx.NodeProto, rank: int) -> tuple[int, int]:
        """Which input is added to what a node gives (-1: none), and along which axis."""
        record = records().get(("", node.op_type))
        numbers = {a.name: a.f if a.type == a.FLOAT else a.i for a in node.attribute}
        if record is not None and record.norm is not None and numbers.get("axis", -1) in (-1, rank - 1):
            return record.norm.offset, record.norm.axis % rank
        if record is not None and record.contracts is not None and numbers.get("beta", 1.0) == 1.0:
            scaled = record.contracts.scales or record.contracts.recurrence >= 0
            return -1 if scaled else record.contracts.bias, 1 if record.contracts.windows else rank - 1
        return -1, 0

    def _to_bias(self, bias: str, value: Array) -> bool:
        tensor = self._tensors.get(bias)
        if tensor is None or self._reads(bias) != 1:
            return False
        old = numpy_helper.to_array(tensor)
        try:
            new = old.astype(np.float64) + value.astype(np.float64)
        except ValueError:
            return False
        if new.size != old.size:
            return False
        tensor.CopyFrom(numpy_helper.from_array(new.reshape(old.shape).astype(old.dtype), bias))
        return True
