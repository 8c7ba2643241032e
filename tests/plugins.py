"""Models with operators that onnxruntime lacks, as plugins are: in a domain of their own, or in none."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from tests.builders import build

BESIDE = """(float[N,3,8,8] x) => (float[N,4] y) {
  a = Conv<pads=[1,1,1,1]>(x, w1, b1)
  r = Relu(a)
  c = Conv<pads=[1,1,1,1]>(r, w2)
  p = own.Plug<level=2>(c)
  d = Conv<pads=[1,1,1,1]>(p, w3)
  e = Relu(d)
  g = GlobalAveragePool(e)
  f = Flatten(g)
  y = Gemm<transB=1>(f, w4)
}"""
# what takes the plugin's place where a runtime has it
STANDARD = {"Plug": "Elu"}


def declared(model: onnx.ModelProto, **shapes: list[int | str]) -> onnx.ModelProto:
    """``model`` with the shapes of inner tensors."""
    for name, shape in shapes.items():
        model.graph.value_info.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    return model


def beside(**shapes: list[int | str]) -> onnx.ModelProto:
    """A plugin between two layers; groups ``w1`` (8 channels) and, where the shape of ``p`` is told, ``w3`` (12)."""
    weights = {"w1": (8, 3, 3, 3), "b1": (8,), "w2": (6, 8, 3, 3), "w3": (12, 6, 3, 3), "w4": (4, 12)}
    return declared(build(BESIDE, domains={"own": 1}, **weights), **(shapes or {"p": ["N", 6, 8, 8]}))


def in_no_domain(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same as exporters for TensorRT write it: the operator stands in the standard domain."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for node in copy.graph.node:
        node.domain = ""
    return copy


def as_standard(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same with a standard operator, which onnxruntime runs, in the place of each plugin."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for node in copy.graph.node:
        if node.op_type in STANDARD:
            node.op_type, node.domain = STANDARD[node.op_type], ""
            del node.attribute[:]
    return copy
