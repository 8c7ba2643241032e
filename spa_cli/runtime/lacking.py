"""What onnxruntime can't run of a model: plugins, custom operators, kernels that this build has not."""

from __future__ import annotations

from collections.abc import Hashable

import onnx
from onnx import helper
from onnx.external_data_helper import uses_external_data

from spa_cli.graph.foreign import is_foreign
from spa_cli.graph.known import Shapes
from spa_cli.graph.model import Graph, Node
from spa_cli.runtime.session import open_session

# kernels want some inputs as constants (scales, zero points): those are smaller than this
_SMALL = 4096


def lacking(graph: Graph, known: Shapes) -> list[Node]:
    """The nodes of the main graph that onnxruntime opens no session for, alone; of equal ones the first is asked.

    A node with bodies is one of them where a node inside is.
    """
    asked: dict[Hashable, bool] = {}

    def runs(node: Node) -> bool:
        if node.bodies:
            return all(runs(inner) for body in node.bodies for inner in body.nodes)
        # lists of tensors have no type that could be declared here: what onnx has, onnxruntime mostly has
        typed = all(i in known.dtype for i in node.inputs if i)
        if node.op == "Constant" or not (typed or is_foreign(node.domain, node.op)):
            return True
        alone = _alone(graph, node, known)
        key = alone.SerializeToString(deterministic=True)
        if key not in asked:
            asked[key] = _opens(alone)
        return asked[key]

    return [node for node in graph.nodes if not runs(node)]


def _alone(graph: Graph, node: Node, known: Shapes) -> onnx.ModelProto:
    """A model of one node, with names that say nothing."""
    proto = onnx.NodeProto()
    proto.CopyFrom(node.proto)
    proto.ClearField("name")
    proto.ClearField("doc_string")
    inputs, constants = [], []
    names: dict[str, str] = {}
    for at, name in enumerate(proto.input):
        if not name or name in names:
            proto.input[at] = names.get(name, "")
            continue
        proto.input[at] = names[name] = f"i{at}"
        tensor = graph.parameters.get(name)
        if tensor is not None and not uses_external_data(tensor) and tensor.ByteSize() <= _SMALL:
            own = onnx.TensorProto()
            own.CopyFrom(tensor)
            own.name = f"i{at}"
            own.ClearField("doc_string")
            constants.append(own)
        else:
            inputs.append(helper.make_tensor_value_info(f"i{at}", known.dtype.get(name, onnx.TensorProto.FLOAT), None))
    proto.output[:] = [f"o{at}" if name else "" for at, name in enumerate(proto.output)]
    outputs = [helper.make_empty_tensor_value_info(name) for name in proto.output if name]
    made = helper.make_graph([proto], "alone", inputs, outputs, constants)
    imports = list(graph.model.opset_import)
    return helper.make_model(made, opset_imports=imports, ir_version=max(graph.model.ir_version, 4))


def _opens(model: onnx.ModelProto) -> bool:
    try:
        open_session(model)
    except Exception:  # noqa: BLE001 - onnxruntime's kinds are its own
        return False
    return True
