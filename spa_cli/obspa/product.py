"""The product of a layer as a linear map between whole tensors, and its adjoint."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper

from spa_cli.graph.model import Array
from spa_cli.obspa.layers import Layer
from spa_cli.obspa.windows import geometry, output_size
from spa_cli.runtime.providers import chosen
from spa_cli.runtime.session import open_session


class Product:
    """``y = W x`` for a convolution or a contraction, without bias, for inputs of one spatial size."""

    def __init__(self, layer: Layer, operand: Array, shape: tuple[int, ...]) -> None:
        self._terms, self._w = layer.terms, layer.alpha * operand.astype(np.float32)
        if self._terms.slides:
            kernel = layer.kernel
            strides, dilations, pads = geometry(layer.node, shape[2:], kernel)
            sizes = output_size(layer.node, shape[2:], kernel)
            # what a stride leaves over at the end
            over = [
                n + sum(p) - d * (k - 1) - 1 - s * (o - 1)
                for n, p, d, k, s, o in zip(shape[2:], pads, dilations, kernel, strides, sizes, strict=True)
            ]
            common = {
                "strides": strides,
                "dilations": dilations,
                "pads": [p[0] for p in pads] + [p[1] for p in pads],
                "group": shape[1] // operand.shape[1],
            }
            self._forward = _session("Conv", self._w.shape, common)
            self._backward = _session("ConvTranspose", self._w.shape, common | {"output_padding": over})

    def apply(self, x: Array) -> Array:
        """``W x``."""
        if self._terms.slides:
            return self._run(self._forward, x)
        return self._contracted(self._terms.x, self._terms.y, x)

    def adjoint(self, y: Array) -> Array:
        """The transpose of the map: ``W^T y``."""
        if self._terms.slides:
            return self._run(self._backward, y)
        return self._contracted(self._terms.y, self._terms.x, y)

    def _run(self, session: Any, value: Array) -> Array:
        return np.asarray(session.run(None, {"value": value.astype(np.float32, copy=False), "w": self._w})[0])

    def _contracted(self, given: tuple[str, ...], wanted: tuple[str, ...], value: Array) -> Array:
        numbers = {label: i for i, label in enumerate(dict.fromkeys((*given, *self._terms.w)))}
        lists = [[numbers[label] for label in labels] for labels in (given, self._terms.w, wanted)]
        return np.asarray(np.einsum(value, lists[0], self._w, lists[1], lists[2], optimize=True))


def _session(op: str, shape: tuple[int, ...], attributes: dict[str, Any]) -> Any:
    node = helper.make_node(op, ["value", "w"], ["out"], **attributes)
    free = [None] * len(shape)
    inputs = [
        helper.make_tensor_value_info("value", onnx.TensorProto.FLOAT, free),
        helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, shape),
    ]
    graph = helper.make_graph([node], op, inputs, [helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, free)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return open_session(model, providers=chosen())
