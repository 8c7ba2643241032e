"""A model with everything that a file can carry, and writing one with its weights beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def dense(width: int = 32) -> onnx.ModelProto:
    """Two dense layers, with everything a file can carry beside them."""
    rng = np.random.default_rng(0)
    shapes = {"w1": (8, width), "b1": (width,), "w2": (width, 4)}
    weights = [numpy_helper.from_array(rng.standard_normal(s).astype(np.float32), n) for n, s in shapes.items()]
    weights[0].doc_string = "the first weight"
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], name="first", doc_string="a node"),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "w2"], ["y"]),
    ]
    info = {n: helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", s]) for n, s in (("x", 8), ("y", 4))}
    between = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", width]) for n in ("h", "r")]
    graph = helper.make_graph(nodes, "graph", [info["x"]], [info["y"]], weights, "a graph", between)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.example", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="maker", producer_version="1.2")
    model.domain, model.model_version, model.doc_string = "org.example", 7, "a model"
    helper.set_model_props(model, {"license": "free", "classes": "4"})
    return model


def save_external(model: onnx.ModelProto, path: Path, data: str = "weights.bin") -> Path:
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    onnx.save(copy, path, save_as_external_data=True, location=data, size_threshold=0)
    return path
