"""Small models, what is differentiable of them, and finite differences of a loss."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from spa_cli.derivatives.differentiable import Differentiable
from spa_cli.runtime.load import load
from spa_cli.runtime.session import open_session, run


def differentiable(model, feeds) -> Any:
    """A Differentiable of a ModelProto, checked on ``feeds``."""
    source = load(model)
    return Differentiable.of(source.graph, feeds, run(open_session(source), feeds))


def close(found, wanted, rtol=1e-4) -> None:
    np.testing.assert_allclose(found, wanted, rtol=rtol, atol=rtol * max(np.abs(wanted).max(), 1e-12))


def graph(nodes, shapes, constants, outputs=("y",), opset=17) -> Any:
    return helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
            [numpy_helper.from_array(v, n) for n, v in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=10,
    )


def normal(*shape) -> Any:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def two_layers(batch="n", extra=()) -> Any:
    """A model of two layers, and its weights; ``extra``: nodes from ``c`` to ``y``."""
    w, v = normal(3, 4), normal(4, 3)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Tanh", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "v"], ["c"]),
        *(extra or [helper.make_node("Identity", ["c"], ["y"])]),
    ]
    return graph(nodes, {"x": [batch, 3]}, {"w": w, "v": v}), {"w": w, "v": v}


def log_softmax(y) -> np.ndarray:
    y = np.asarray(y, np.float64)
    off = y - y.max(-1, keepdims=True)
    return off - np.log(np.exp(off).sum(-1, keepdims=True))


def cross_entropy(y, labels) -> np.ndarray:
    """(n,) of scores (n, c)."""
    return -log_softmax(y)[np.arange(len(labels)), labels]


def slopes(function, arrays, step=1e-5) -> dict[str, np.ndarray]:
    """Central differences of ``function(arrays)``, a number or an array, by every element of every array."""
    found = {}
    for name, array in arrays.items():
        sides = []
        for place in np.ndindex(*array.shape):
            pair = []
            for sign in (1, -1):
                moved = np.array(array, np.float64)
                moved[place] += sign * step
                pair.append(np.asarray(function({**arrays, name: moved})))
            sides.append((pair[0] - pair[1]) / (2 * step))
        found[name] = np.stack(sides, -1).reshape(*sides[0].shape, *array.shape)
    return found


__all__ = ["close", "cross_entropy", "differentiable", "graph", "normal", "slopes", "two_layers"]
