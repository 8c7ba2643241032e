"""Which widths onnxruntime's kernels like on this machine, from measurement (``--round-to auto``)."""

from __future__ import annotations

import time
from functools import lru_cache

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from spa_cli.graph.model import Graph
from spa_cli.verification.providers import chosen
from spa_cli.verification.session import open_session

MULTIPLES = (1, 2, 4, 8, 16)
_WIDTHS = range(49, 81)
# what a coarser multiple has to gain per unit of work
_GAIN = 0.03
_SECONDS = 1.5


def preferred_multiple(graph: Graph) -> int:
    """The smallest multiple whose widths cost, per unit of work, hardly more than the best one's."""
    convolutions = sum(n.op in ("Conv", "FusedConv") for n in graph.all_nodes)
    products = sum(n.op in ("Gemm", "MatMul", "FusedMatMul", "Attention") for n in graph.all_nodes)
    costs = _costs(convolutions >= products)
    by_multiple = {m: float(np.mean([c for w, c in costs.items() if w % m == 0])) for m in MULTIPLES}
    best = min(by_multiple.values())
    return next(m for m in MULTIPLES if by_multiple[m] <= (1 + _GAIN) * best)


def roundings(graph: Graph) -> list[int]:
    """The preferred multiple and those that a budget may make it give way to, down to 1."""
    best = preferred_multiple(graph)
    return [m for m in reversed(MULTIPLES) if m <= best]


@lru_cache(maxsize=2)
def _costs(convolution: bool) -> dict[int, float]:
    """Median seconds per unit of work of one layer from w to w channels, for every width w."""
    make = _convolution if convolution else _product
    sessions = {w: open_session(make(w), "all", providers=chosen()) for w in _WIDTHS}
    feeds = {w: {"x": np.ones([d.dim_value for d in _shape(make(w))], np.float32)} for w in _WIDTHS}
    times: dict[int, list[float]] = {w: [] for w in _WIDTHS}
    for width, session in sessions.items():
        session.run(None, feeds[width])
    end = time.perf_counter() + _SECONDS
    # in turns, so that what else the machine does falls on all alike
    while time.perf_counter() < end or len(times[_WIDTHS[0]]) < 5:
        for width, session in sessions.items():
            start = time.perf_counter()
            session.run(None, feeds[width])
            times[width].append(time.perf_counter() - start)
    return {w: float(np.median(t)) / w**2 for w, t in times.items()}


def _shape(model: onnx.ModelProto) -> list[onnx.TensorShapeProto.Dimension]:
    return list(model.graph.input[0].type.tensor_type.shape.dim)


def _convolution(width: int) -> onnx.ModelProto:
    weight = np.full((width, width, 3, 3), 0.01, np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4)
    return _model(node, weight, [1, width, 16, 16])


def _product(width: int) -> onnx.ModelProto:
    return _model(
        helper.make_node("MatMul", ["x", "w"], ["y"]), np.full((width, width), 0.01, np.float32), [128, width]
    )


def _model(node: onnx.NodeProto, weight: np.ndarray, shape: list[int]) -> onnx.ModelProto:
    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("x", "y")]
    graph = helper.make_graph([node], "layer", info[:1], info[1:], [numpy_helper.from_array(weight, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
