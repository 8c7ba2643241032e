"""Concrete shapes and small known values of every tensor, without running the model.

A forward interpretation in topological order, at one concrete choice of the model's free dimensions: shapes come
from ONNX's own per-operator inference, values (shape arithmetic, indices, masks) from ONNX's NumPy reference
operators. Weights are never read unless an index or a shape depends on them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference.ops import load_op

from spa_cli.graph.control_flow import through_bodies
from spa_cli.graph.foreign import is_foreign
from spa_cli.graph.guard import described, guarded
from spa_cli.graph.known import Observed as Observed
from spa_cli.graph.known import Shape as Shape
from spa_cli.graph.known import ShapeRule as ShapeRule
from spa_cli.graph.known import ShapeRules as ShapeRules
from spa_cli.graph.known import Shapes as Shapes
from spa_cli.graph.model import Array, Graph, Node

# more elements than this are data, not a shape, an index or a mask worth computing at analysis time
MAX_KNOWN = 1 << 16

# what draws at random; what slides windows or runs step by step: no arithmetic on sizes, and its reference takes room
# for dilations and pads that a result doesn't show
_NEVER_EVALUATED = frozenset(
    re.findall(
        r"\w+",
        "Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike "
        "Attention AveragePool Conv ConvInteger ConvTranspose DeformConv GRU GridSample LSTM LpPool MaxPool MaxRoiPool "
        "QLinearConv RNN RoiAlign STFT",
    )
)
# what they give is as large as a value says, or an attribute
_GROWING = frozenset(
    re.findall(
        r"\w+",
        "BlackmanWindow CenterCropPad Col2Im ConstantOfShape Expand EyeLike HammingWindow HannWindow MaxUnpool "
        "MelWeightMatrix OneHot Pad Range Resize Tile Upsample",
    )
)
_IR_VERSION = 10
_RUN = {"log": lambda *_: None, "opsets": {"": 1}, "verbose": 0, "new_ops": None}


def interpret(
    graph: Graph,
    input_shapes: dict[str, tuple[int, ...]],
    observed: Observed = MappingProxyType({}),
    rules: ShapeRules = MappingProxyType({}),
) -> Shapes:
    """Shapes and known values of all tensors of ``graph`` when its inputs have ``input_shapes``.

    ``observed``: of tensors that inference is known to miss. ``rules``: of operators that ONNX has no schema for.
    """
    known = Shapes(observed=observed, rules=rules)
    for name, (seen, dtype) in observed.items():
        known.shape[name], known.dtype[name] = seen, dtype
    for name, tensor in graph.parameters.items():
        known.shape[name], known.dtype[name] = tuple(tensor.dims), tensor.data_type
    for name, info in graph.inputs.items():
        if info.type.HasField("tensor_type"):
            known.dtype[name] = info.type.tensor_type.elem_type
            if name in input_shapes:
                known.shape[name] = tuple(input_shapes[name])
    declared = _declared(graph, input_shapes)

    def read(name: str) -> Array | None:
        return constant(graph, known, name)

    def walk(nodes: Iterable[Node]) -> None:
        for node in nodes:
            if node.op == "Constant" and node.outputs[0] in graph.parameters:
                continue
            rule = rules.get((node.domain, node.op), "")
            try:
                with guarded(node, _Misfit):
                    if not through_bodies(node, known, read, walk):
                        step(node, known, graph.model.ir_version, read, declared, rule)
            except _Misfit as why:
                known.conflicts.append((node, str(why)))
                _fall_back(node, known, declared, "")

    walk(graph.nodes)
    return known


def _declared(graph: Graph, input_shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, Shape | None]]:
    """(element type, shape) by tensor as the file declares it; a dim that has the name of an input's has its size."""
    sizes = {
        dim.dim_param: size
        for name, shape in input_shapes.items()
        for dim, size in zip(graph.inputs[name].type.tensor_type.shape.dim, shape, strict=False)
        if dim.dim_param
    }
    protos = [graph.model.graph, *(body.proto for node in graph.all_nodes for body in node.bodies)]
    found: dict[str, tuple[int, Shape | None]] = {}
    for info in (v for proto in protos for v in (*proto.value_info, *proto.output)):
        if info.type.HasField("tensor_type"):
            tensor = info.type.tensor_type
            dims = tuple(sizes.get(d.dim_param) if d.dim_param else _dim(d) for d in tensor.shape.dim)
            found[info.name] = (tensor.elem_type, dims if tensor.HasField("shape") else None)
    return found


class _Misfit(Exception):
    """A node that no shape can be worked out for."""


def constant(graph: Graph, known: Shapes, name: str) -> Array | None:
    """Value of ``name`` if it is a small parameter or was computed from such."""
    if name not in known.value and name in graph.parameters:
        if int(np.prod(graph.parameters[name].dims, dtype=np.int64)) > MAX_KNOWN:
            return None
        known.value[name] = graph.array(name)
    return known.value.get(name)


def step(
    node: Node,
    known: Shapes,
    ir_version: int,
    read: Callable[[str], Array | None],
    declared: Mapping[str, tuple[int, Shape | None]],
    rule: ShapeRule | str,
) -> None:
    """Add what is known of the outputs of ``node`` to ``known``; ``read`` gives the value of an input, if known."""
    if _from_shape(node, known) or _evaluate(node, known, read):
        return
    if node.outputs and all(not o or o in known.shape for o in node.outputs):
        return  # observed
    if any(i and i not in known.shape for i in node.inputs):
        _fall_back(node, known, declared, rule)
        return
    try:
        types = _infer(node, known, ir_version, read, rule)
    except Exception as error:  # noqa: BLE001 - ONNX raises bare errors of several kinds; all mean "does not fit"
        conflict = (str(error).strip() or "?").splitlines()[-1]
        if not rule and "schema" not in conflict.lower():
            known.conflicts.append((node, conflict))
        _fall_back(node, known, declared, rule)
        return
    for name in node.outputs:
        if name in types and types[name].HasField("tensor_type"):
            tensor = types[name].tensor_type
            known.dtype[name] = tensor.elem_type
            if tensor.HasField("shape"):
                known.shape[name] = tuple(_dim(d) for d in tensor.shape.dim)
    if node.op == "Expand" and not node.domain and node.inputs[1] in known.partial:
        known.shape[node.outputs[0]] = _broadcast(known.shape[node.inputs[0]], known.partial[node.inputs[1]])
    missing = [o for o in node.outputs if o and o not in known.shape]
    if missing:
        _fall_back(node, known, declared, rule)


def _broadcast(a: Shape, b: Shape) -> Shape:
    """Shape of a broadcast, as far as it is known."""
    rank = max(len(a), len(b))
    pairs = zip((1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b, strict=True)
    return tuple(y if x == 1 else x if y == 1 or x is not None else y for x, y in pairs)


def _dim(dim: onnx.TensorShapeProto.Dimension) -> int | None:
    return dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else None


def _from_shape(node: Node, known: Shapes) -> bool:
    """Shape and Size read only the shape of their input, which may be known when its value is not."""
    if node.domain or node.op not in ("Shape", "Size") or node.inputs[0] not in known.shape:
        return False
    dims = known.shape[node.inputs[0]]
    if any(d is None for d in dims):
        if node.op == "Shape":
            known.partial[node.outputs[0]] = dims[slice(node.attr("start", 0), node.attr("end", len(dims)))]
        return False
    value = np.array(dims, np.int64)
    if node.op == "Size":
        value = np.array(value.prod(), np.int64)
    else:
        value = value[slice(node.attr("start", 0), node.attr("end", len(dims)))]
    _record(known, node.outputs[0], value, TensorProto.INT64)
    return True


def _evaluate(node: Node, known: Shapes, read: Callable[[str], Array | None]) -> bool:
    """Run ``node`` in NumPy if all its inputs are known and its result is small."""
    if node.domain or node.op in _NEVER_EVALUATED or any(a.HasField("g") for a in node.proto.attribute):
        return False
    values = [read(i) if i else None for i in node.inputs]
    if any(v is None and i for v, i in zip(values, node.inputs, strict=True)):
        return False
    if not node.inputs and node.op != "Constant":
        return False
    if not _stays_small(node, known, read, [v for v in values if v is not None]):
        return False
    try:
        with np.errstate(all="ignore"):
            results = reference(node, values)
    except Exception:  # noqa: BLE001 - the reference operators refuse some legal types; inference still gives a shape
        return False
    if any(not isinstance(r, np.ndarray | np.generic) or r.size > MAX_KNOWN for r in results):
        return False
    for name, result in zip(node.outputs, results, strict=False):
        if name:
            array = np.asarray(result)
            try:
                dtype = helper.np_dtype_to_tensor_dtype(array.dtype)
            except (ValueError, KeyError):
                return False
            _record(known, name, array, dtype)
    return True


def _stays_small(node: Node, known: Shapes, read: Callable[[str], Array | None], values: list[Array]) -> bool:
    """Whether the results are known to be no larger than what is worth computing, before they are computed."""
    # what broadcasts is no larger than all that it is made of multiplied
    if node.op not in _GROWING and math.prod(max(v.size, 1) for v in values) <= MAX_KNOWN:
        return True
    try:
        types = _infer(node, known, _IR_VERSION, read, "")
    except Exception:  # noqa: BLE001 - as in ``step``
        return False
    for name in filter(None, node.outputs):
        dims = types[name].tensor_type.shape.dim if name in types else []
        if name not in types or not types[name].tensor_type.HasField("shape"):
            return False
        sizes = [_dim(d) for d in dims]
        if any(d is None for d in sizes) or math.prod(d or 0 for d in sizes) > MAX_KNOWN:
            return False
    return True


def reference(node: Node, values: Iterable[Array | None]) -> tuple[Any, ...]:
    """Result of a node by ONNX's NumPy reference operators."""
    operator = load_op("", node.op, node.version)
    return tuple(operator(node.proto, {**_RUN, "opsets": {"": node.version}}).run(*values))


def _record(known: Shapes, name: str, value: Array, dtype: int) -> None:
    known.value[name], known.shape[name], known.dtype[name] = value, tuple(value.shape), dtype


def _infer(
    node: Node, known: Shapes, ir_version: int, read: Callable[[str], Array | None], rule: ShapeRule | str
) -> dict[str, onnx.TypeProto]:
    """Output types by ONNX's own inference for one operator."""
    if isinstance(rule, str) and rule:
        proto, domain, version = as_standard(node, rule), "", 13
    else:
        proto, domain, version = node.proto, node.domain, node.version
    schema = onnx.defs.get_schema(proto.op_type, version, domain)
    types = {i: type_proto(known.dtype.get(i, 1), known.shape[i]) for i in node.inputs if i}
    data = {}
    for name in node.inputs:
        # only integer inputs decide shapes (and Resize's scales, and where a Range ends)
        if name and (known.dtype.get(name) in (6, 7) or node.op in ("Resize", "Upsample", "Range")):
            value = read(name)
            if value is not None:
                data[name] = numpy_helper.from_array(np.asarray(value, order="C"), name)
    return dict(
        onnx.shape_inference.infer_node_outputs(
            schema,
            proto,
            {i: types[i] for i in proto.input if i},
            data,
            opset_imports=[helper.make_opsetid(domain, version)],
            ir_version=ir_version,
        )
    )


def type_proto(dtype: int, shape: Shape) -> onnx.TypeProto:
    """A TypeProto of a tensor; unknown dims stay unset."""
    result = onnx.TypeProto()
    result.tensor_type.elem_type = dtype
    result.tensor_type.shape.SetInParent()
    for dim in shape:
        added = result.tensor_type.shape.dim.add()
        if dim is not None:
            added.dim_value = dim
    return result


def as_standard(node: Node, name: str) -> onnx.NodeProto:
    """A fused node as the standard operator it extends, which has the same output shape."""
    schema = onnx.defs.get_schema(name, 13, "")
    proto = helper.make_node(name, list(node.inputs[: len(schema.inputs)]), list(node.outputs))
    proto.attribute.extend(a for a in node.proto.attribute if a.name in schema.attributes)
    return proto


def _fall_back(
    node: Node, known: Shapes, declared: Mapping[str, tuple[int, Shape | None]], rule: ShapeRule | str
) -> None:
    """Shapes of last resort: by the operator's own rule, or as the file declares them of operators unknown to ONNX."""
    if callable(rule):
        _apply(rule, node, known)
    foreign = bool(node.domain) or is_foreign(node.domain, node.op)
    for name in node.outputs:
        if name and name not in known.shape:
            dtype, shape = declared.get(name, (0, None))
            if dtype:
                known.dtype.setdefault(name, dtype)
            if foreign and shape is not None:
                known.shape[name] = shape
            else:
                known.unknown[name] = node


def _apply(rule: ShapeRule, node: Node, known: Shapes) -> None:
    """What the rule gives has the type of the first input that is no index."""
    try:
        shapes = rule(node, [known.shape.get(i) if i else None for i in node.inputs])
    except (TypeError, IndexError, ValueError):
        return  # a shape it rests on is not known
    if any(d is not None and d < 0 for shape in shapes for d in shape):
        raise _Misfit(f"{described(node)} makes an axis shorter than nothing")
    types = [known.dtype.get(i, TensorProto.FLOAT) for i in node.inputs if i]
    dtype = next((t for t in types if t not in (TensorProto.INT32, TensorProto.INT64)), types[0])
    for name, shape in zip(node.outputs, shapes, strict=False):
        if name and name not in known.shape:
            known.shape[name], known.dtype[name] = shape, dtype
