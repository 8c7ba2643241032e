"""Resizing: along each axis a product with a matrix, which onnxruntime shows by resizing an identity."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from spa_cli.adjoints.emitter import NoAdjoint, Value
from spa_cli.adjoints.table import Call, adjoint_of
from spa_cli.graph.model import Array
from spa_cli.runtime.session import open_session


@adjoint_of("Resize Upsample", inputs=(0,))
def resize(c: Call) -> Value:
    """Products with the transposed matrices, axis by axis."""
    if str(c.node.attr("coordinate_transformation_mode", "")) == "tf_crop_and_resize":
        raise NoAdjoint("it crops")
    g, rank, e = c.g, c.rank(), c.emit
    sizes, outs = c.sizes.pairs(c.node.inputs[0]), c.sizes.pairs(c.node.outputs[0])
    for axis, (size, out) in enumerate(zip(sizes, outs, strict=True)):
        if size == out and axis < 2:
            continue
        if size[0] is None or out[0] is None or size[0] != size[1] or out[0] != out[1]:
            raise NoAdjoint("the size of its image varies")
        if size[0] == out[0]:
            continue
        matrix = _matrix(c, axis, size[0], out[0])
        if axis == rank - 1:
            g = g @ e.constant(matrix, g.dtype)
        elif axis == rank - 2:
            g = e.constant(matrix.T, g.dtype) @ g
        else:
            last = [*(i for i in range(rank) if i != axis), axis]
            moved = e.transpose(g, last) @ e.constant(matrix, g.dtype)
            g = e.transpose(moved, [int(i) for i in np.argsort(last)])
    return g


def _matrix(c: Call, axis: int, size: int, out: int) -> Array:
    """(out, in) of one axis: the same node on an identity whose other axes keep their size."""
    node, rank = c.node, c.rank()
    attributes = [a for a in node.proto.attribute if a.name not in ("scales", "axes", "keep_aspect_ratio_policy")]
    scale = _scale(c, axis, size, out)
    # an image per column; bilinear kernels want an image of two axes
    shape = [size] + [1] * (rank - 1)
    shape[axis] = size
    if axis == 0:
        raise NoAdjoint("it resizes the batch")
    scales = np.ones(rank, np.float32)
    scales[axis] = scale
    inputs, constants = ["x"], []
    proto = helper.make_node(node.op, inputs, ["y"])
    proto.attribute.extend(attributes)
    version = c.node.version
    if node.op == "Upsample" and version < 9:
        proto.attribute.append(helper.make_attribute("scales", scales.tolist()))
    else:
        if version >= 11:
            proto.input.append("roi")
            constants.append(helper.make_tensor("roi", TensorProto.FLOAT, [0], []))
        proto.input.append("scales")
        constants.append(helper.make_tensor("scales", TensorProto.FLOAT, [rank], scales))
    graph = helper.make_graph(
        [proto],
        "resize",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_empty_tensor_value_info("y")],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=8)
    eye = np.eye(size, dtype=np.float32).reshape(shape)
    result = np.asarray(open_session(model).run(None, {"x": eye})[0]).reshape(size, -1)
    if result.shape[1] != out:
        raise NoAdjoint("its scale is not known")
    return result.T


def _scale(c: Call, axis: int, size: int, out: int) -> float:
    """The scale along an axis, as the node has it."""
    node, version = c.node, c.node.version
    if node.op == "Upsample" and version < 9:
        return float(node.attr("scales")[axis])
    at = 1 if version < 11 else 2
    if c.has(at):
        scales = c.known(at, "scales").reshape(-1)
        axes = [int(a) % c.rank() for a in node.attr("axes", range(c.rank()))]
        if len(scales):
            return float(scales[axes.index(axis)])
    return out / size
