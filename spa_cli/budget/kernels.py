"""Which widths onnxruntime's kernels like on this machine, from measurement (``--round-to auto``)."""

from __future__ import annotations

import time
from functools import lru_cache

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from spa_cli.graph.model import Graph
from spa_cli.operators import record_of
from spa_cli.runtime.providers import chosen
from spa_cli.runtime.session import open_session

MULTIPLES = (1, 2, 4, 8, 16)
_WIDTHS = range(49, 81)
# what a coarser multiple has to gain per unit of work
_GAIN = 0.03
# what it may cost: no more than if this much more of the original were removed
COSTLY = 0.025
_SECONDS, _QUIET = 1.5, 0.1
# layers one after the other: what a kernel does to get at its own layout counts once
_DEPTH = 3


def preferred_multiple(graph: Graph) -> int:
    """The smallest multiple whose widths cost, per unit of work, hardly more than the best one's."""
    costs = _costs(_kind(graph))
    by_multiple = {m: float(np.mean([c for w, c in costs.items() if w % m == 0])) for m in MULTIPLES}
    best = min(by_multiple.values())
    return next(m for m in MULTIPLES if by_multiple[m] <= (1 + _GAIN) * best)


def _kind(graph: Graph) -> str:
    """What most of the model's layers are: "product", "convolution", or with depthwise ones among them "depthwise"."""
    counted = [(n, record_of(n).contracts) for n in graph.all_nodes if record_of(n).counted]
    # kernels of integers have habits of their own
    layers = [(n, contracts) for n, contracts in counted if contracts is None or contracts.scales is None]
    convolutions = [n for n, contracts in layers if contracts is not None and contracts.slides(n)]
    if len(convolutions) < sum(contracts is None or not contracts.windows for _, contracts in layers):
        return "product"
    return "depthwise" if any(n.attr("group", 1) > 1 for n in convolutions) else "convolution"


def roundings(graph: Graph) -> list[int]:
    """The preferred multiple and those that a budget may make it give way to, down to 1."""
    best = preferred_multiple(graph)
    return [m for m in reversed(MULTIPLES) if m <= best]


@lru_cache(maxsize=3)
def _costs(kind: str) -> dict[int, float]:
    """Seconds per unit of work of layers from w to w channels, for every width w, by the fastest tenth of the runs."""
    models = {w: _product(w) if kind == "product" else _convolutions(w, kind == "depthwise") for w in _WIDTHS}
    sessions = {w: open_session(m, "all", providers=chosen(), timed=True) for w, m in models.items()}
    feeds = {w: {"x": np.ones([d.dim_value for d in _shape(m)], np.float32)} for w, m in models.items()}
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
    return {w: float(np.quantile(t, _QUIET)) / w**2 for w, t in times.items()}


def _shape(model: onnx.ModelProto) -> list[onnx.TensorShapeProto.Dimension]:
    return list(model.graph.input[0].type.tensor_type.shape.dim)


def _convolutions(width: int, depthwise: bool) -> onnx.ModelProto:
    """3x3 convolutions, or 1x1 ones and depthwise 3x3 ones in turns, with an activation behind each."""
    kernels = [(width, 1), (1, 3)] if depthwise else [(width, 3)]
    nodes, weights = list[onnx.NodeProto](), list[onnx.TensorProto]()
    for at, (inputs, size) in enumerate(kernels * _DEPTH):
        weight = np.full((width, inputs, size, size), 0.01, np.float32)
        weights.append(numpy_helper.from_array(weight, f"w{at}"))
        x = nodes[-1].output[0] if nodes else "x"
        group, pads = width // inputs, [size // 2] * 4
        nodes.append(helper.make_node("Conv", [x, f"w{at}"], [f"c{at}"], pads=pads, group=group))
        nodes.append(helper.make_node("Relu", [f"c{at}"], [f"r{at}"]))
    return _model(nodes, weights, [1, width, 14, 14])


def _product(width: int) -> onnx.ModelProto:
    weight = numpy_helper.from_array(np.full((width, width), 0.01, np.float32), "w")
    return _model([helper.make_node("MatMul", ["x", "w"], ["y"])], [weight], [128, width])


def _model(nodes: list[onnx.NodeProto], weights: list[onnx.TensorProto], shape: list[int]) -> onnx.ModelProto:
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("x", nodes[-1].output[0]))
    graph = helper.make_graph(nodes, "layers", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
