"""A model while it is tidied: who makes and reads its tensors, what is constant, what is known of types."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.external_data_helper import uses_external_data

from spa_cli.graph.bodies import captured_names, own_bodies, rename
from spa_cli.graph.external import array_of
from spa_cli.graph.model import Array

# a dim of unknown size is None, or a symbol where it is known to be that of another tensor
Dims: TypeAlias = tuple[int | str | None, ...]

STANDARD = ("", "ai.onnx")
# elements of a constant whose value decides shapes
_SMALL = 4096


class Draft:
    """The main graph of ``model``, edited in place; ``folder`` is where its external data lies.

    Bodies of control flow see their outer tensors renamed, and are left alone otherwise. After a change, what is known
    here is of the model before; a step looks at a draft of its own.
    """

    def __init__(self, model: onnx.ModelProto, folder: str) -> None:
        self.model, self.graph, self.folder = model, model.graph, folder
        # held, so that each stays the one object it is told apart by
        self.nodes = list(model.graph.node)
        self.inputs = {v.name for v in model.graph.input}
        self.outputs = {v.name for v in model.graph.output}
        self.producers = {o: n for n in model.graph.node for o in n.output if o}
        self.readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in model.graph.node:
            for name in {*filter(None, node.input), *captured_names(node)}:
                self.readers[name].append(node)
        # by name, what nothing can change: a default of an optional input is no constant
        self.constants = {t.name: t for t in model.graph.initializer if t.name not in self.inputs}
        for node in model.graph.node:
            tensor = _constant(node)
            if tensor is not None:
                self.constants[node.output[0]] = tensor

    @property
    def opset(self) -> int:
        """Version of the default operator set."""
        return max((o.version for o in self.model.opset_import if o.domain in STANDARD), default=1)

    def is_read(self, name: str) -> bool:
        """Whether anything reads a tensor, a body or the user among them."""
        return name in self.outputs or bool(self.readers.get(name))

    def only_reader(self, name: str) -> onnx.NodeProto | None:
        """The node that alone reads a tensor, once; ``None`` if there is none, or the user reads it too."""
        nodes = self.readers.get(name, [])
        if name in self.outputs or len(nodes) != 1 or list(nodes[0].input).count(name) != 1:
            return None
        return None if name in captured_names(nodes[0]) else nodes[0]

    def array(self, name: str) -> Array | None:
        """Value of a constant, ``None`` if it is none."""
        tensor = self.constants.get(name)
        return None if tensor is None else array_of(tensor, self.folder)

    def dims(self, name: str) -> Dims | None:
        """Shape of a tensor at whatever inputs the model takes; ``None`` where its rank is unknown."""
        return self._types.get(name, (0, None))[1]

    def kind(self, name: str) -> int:
        """Element type of a tensor, 0 where it is unknown."""
        return self._types.get(name, (0, None))[0]

    # -- changing -----------------------------------------------------------------------------------------------------

    def store(self, name: str, array: Array) -> None:
        """One more initializer."""
        self.graph.initializer.append(numpy_helper.from_array(array, name))

    def store_new(self, name: str, array: Array) -> str:
        """One more initializer, and what it is called: ``name``, or like it where something has that."""
        taken = {*self.producers, *self.inputs, *self.readers, *(t.name for t in self.graph.initializer)}
        while name in taken:
            name += "_"
        self.store(name, array)
        return name

    def replace(self, name: str, array: Array) -> None:
        """Give an initializer another value."""
        tensor = next(t for t in self.graph.initializer if t.name == name)
        doc = tensor.doc_string
        tensor.CopyFrom(numpy_helper.from_array(array, name))
        tensor.doc_string = doc

    def rename(self, names: dict[str, str]) -> None:
        """Call tensors otherwise, wherever they are made or read."""
        for node in self.graph.node:
            for field in (node.input, node.output):
                for at, name in enumerate(field):
                    if name in names:
                        field[at] = names[name]
            for body in own_bodies(node):
                rename(body, names)
        for annotation in self.graph.quantization_annotation:
            annotation.tensor_name = names.get(annotation.tensor_name, annotation.tensor_name)

    def drop(self, nodes: Iterable[onnx.NodeProto]) -> None:
        """Take nodes out."""
        gone = {id(n) for n in nodes}
        remove(self.graph.node, [at for at, n in enumerate(self.graph.node) if id(n) in gone])

    # -- what is known ------------------------------------------------------------------------------------------------

    @cached_property
    def _types(self) -> dict[str, tuple[int, Dims | None]]:
        """Element type and shape by name: onnx's inference from the inputs, not what an exporter says of inner tensors.

        Large weights take part by their shapes alone, so that none is copied.
        """
        light = onnx.ModelProto(ir_version=max(self.model.ir_version, 4))
        light.opset_import.extend(self.model.opset_import)
        light.graph.name = self.graph.name
        light.graph.node.extend(self.graph.node)
        for value in self.graph.input:
            light.graph.input.append(value)
            # two axes of one name are fed with what the user likes
            for axis, dim in enumerate(light.graph.input[-1].type.tensor_type.shape.dim):
                if not dim.HasField("dim_value"):
                    dim.dim_param = f"{value.name}, axis {axis}"
        for tensor in self.graph.initializer:
            small = math.prod(tensor.dims) <= _SMALL and not uses_external_data(tensor)
            if tensor.name in self.constants and small:
                light.graph.initializer.append(tensor)
            elif tensor.name not in self.inputs:
                info = helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
                light.graph.input.append(info)
        light.graph.output.extend(helper.make_empty_tensor_value_info(v.name) for v in self.graph.output)
        try:
            inferred = onnx.shape_inference.infer_shapes(light, data_prop=True).graph
        except Exception:  # noqa: BLE001 - inference raises kinds of its own; then less is known
            inferred = light.graph
        found = {v.name: _type(v) for v in (*inferred.input, *inferred.output, *inferred.value_info)}
        return found | {n: (t.data_type, tuple(t.dims)) for n, t in self.constants.items()}


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """Value of an attribute, or ``default``."""
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def input_of(node: onnx.NodeProto, index: int) -> str:
    """Name of an input, ``""`` if the node has none there."""
    return str(node.input[index]) if index < len(node.input) else ""


def remove(field: Any, places: list[int]) -> None:
    """Delete entries of a repeated field, by ascending place."""
    for at in reversed(places):
        del field[at]


def _constant(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """What a Constant node gives, ``None`` if it is no dense tensor of numbers."""
    if node.op_type != "Constant" or node.domain not in STANDARD:
        return None
    for a in node.attribute:
        if a.name == "value":
            dense: onnx.TensorProto = a.t
            return dense
        if a.name in ("value_int", "value_ints"):
            values = list(a.ints) if a.name.endswith("s") else a.i
            return numpy_helper.from_array(np.asarray(values, np.int64), node.output[0])
        if a.name in ("value_float", "value_floats"):
            values = list(a.floats) if a.name.endswith("s") else a.f
            return numpy_helper.from_array(np.asarray(values, np.float32), node.output[0])
    return None


def _type(value: onnx.ValueInfoProto) -> tuple[int, Dims | None]:
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not tensor.HasField("shape"):
        return tensor.elem_type, None
    return tensor.elem_type, tuple(
        d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in tensor.shape.dim
    )
