"""Architectures at their real size, written as exporters write them, without any training framework.

``weights="shape-only"``: tensors too large for the analysis to read (over ``MAX_KNOWN`` elements) carry no bytes, so
that a 340 MB network costs nothing to build; ``weights="random"`` fills everything, for runs in onnxruntime.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from spa_cli.graph.shapes import MAX_KNOWN

Weights = Literal["shape-only", "random"]
OPSET = 20


class Net:
    """A graph under construction: ``param`` adds a weight, ``op`` a node, both give the tensor's name."""

    def __init__(self, weights: Weights) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._random = weights == "random"
        self._rng = np.random.default_rng(0)
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def param(self, name: str, *shape: int, fill: float | None = None) -> str:
        """A float32 weight: normal noise of a sensible scale, or ``fill``."""
        count = math.prod(shape)
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape)
        if fill is not None:
            tensor.raw_data = np.full(count, fill, np.float32).tobytes()
        elif self._random or count <= MAX_KNOWN:
            scale = np.float32(math.sqrt(2.0 / max(1, count // max(shape[0], 1))))
            tensor.raw_data = (self._rng.standard_normal(count, np.float32) * scale).tobytes()
        self.initializers.append(tensor)
        return name

    def const(self, value: object, dtype: type = np.int64) -> str:
        """A small constant, shared between its readers."""
        array = np.asarray(value, dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = f"const_{len(self._constants)}"
            self.initializers.append(numpy_helper.from_array(array, self._constants[key]))
        return self._constants[key]

    def op(self, kind: str, *inputs: str, name: str = "", outputs: int = 1, **attributes: object) -> str:
        """A node; its first output's name (others end in _1, _2, ...)."""
        name = name or f"{kind}_{len(self.nodes)}"
        results = [f"{name}_out"] + [f"{name}_out_{i}" for i in range(1, outputs)]
        self.nodes.append(helper.make_node(kind, inputs, results, name=name, **attributes))
        return results[0]

    def model(
        self, inputs: dict[str, tuple[int, list[int | str]]], outputs: dict[str, list[int | str]]
    ) -> onnx.ModelProto:
        """The finished model; the last nodes must produce ``outputs``."""
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info(n, dtype, shape) for n, (dtype, shape) in inputs.items()],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in outputs.items()],
        )
        graph.initializer.extend(self.initializers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)

    # -- layers -------------------------------------------------------------------------------------------------------

    def conv(self, x: str, name: str, c_in: int, c_out: int, k: int, stride: int = 1, group: int = 1) -> str:
        """A convolution without bias, padded to keep the size."""
        weight = self.param(f"{name}.weight", c_out, c_in // group, k, k)
        pads = [(k - 1) // 2] * 4
        return self.op("Conv", x, weight, name=name, kernel_shape=[k, k], strides=[stride] * 2, pads=pads, group=group)

    def batch_norm(self, x: str, name: str, c: int) -> str:
        """BatchNormalization, not folded."""
        fills = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
        return self.op("BatchNormalization", x, *(self.param(f"{name}.{k}", c, fill=v) for k, v in fills.items()))

    def linear(self, x: str, name: str, c_in: int, c_out: int) -> str:
        """MatMul and Add, as linear layers on sequences are exported."""
        product = self.op("MatMul", x, self.param(f"{name}.weight", c_in, c_out), name=name)
        return self.op("Add", product, self.param(f"{name}.bias", c_out, fill=0.0))

    def layer_norm(self, x: str, name: str, c: int) -> str:
        """LayerNormalization over the last axis."""
        scale, bias = self.param(f"{name}.weight", c, fill=1.0), self.param(f"{name}.bias", c, fill=0.0)
        return self.op("LayerNormalization", x, scale, bias, axis=-1)

    def gemm(self, x: str, name: str, c_in: int, c_out: int, output: str) -> None:
        """The classifier, which writes the graph output."""
        weight, bias = self.param(f"{name}.weight", c_out, c_in), self.param(f"{name}.bias", c_out, fill=0.0)
        self.nodes.append(helper.make_node("Gemm", [x, weight, bias], [output], name=name, transB=1))


def _image_model(net: Net, size: int, classes: int) -> onnx.ModelProto:
    return net.model({"image": (TensorProto.FLOAT, ["batch", 3, size, size])}, {"logits": ["batch", classes]})


def resnet50(weights: Weights = "shape-only") -> onnx.ModelProto:
    """ResNet-50 (v1.5, stride in the 3x3) for 224 x 224, BatchNorm unfolded."""
    net = Net(weights)
    x = net.op("Relu", net.batch_norm(net.conv("image", "conv1", 3, 64, 7, 2), "bn1", 64))
    x = net.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    width = 64
    for stage, (planes, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), 1):
        for block in range(blocks):
            name, stride = f"layer{stage}.{block}", 2 if block == 0 and stage > 1 else 1
            y = net.op("Relu", net.batch_norm(net.conv(x, f"{name}.conv1", width, planes, 1), f"{name}.bn1", planes))
            y = net.conv(y, f"{name}.conv2", planes, planes, 3, stride)
            y = net.op("Relu", net.batch_norm(y, f"{name}.bn2", planes))
            y = net.batch_norm(net.conv(y, f"{name}.conv3", planes, 4 * planes, 1), f"{name}.bn3", 4 * planes)
            if block == 0:
                short = net.conv(x, f"{name}.downsample.0", width, 4 * planes, 1, stride)
                x = net.batch_norm(short, f"{name}.downsample.1", 4 * planes)
            x, width = net.op("Relu", net.op("Add", y, x)), 4 * planes
    x = net.op("Flatten", net.op("GlobalAveragePool", x), axis=1)
    net.gemm(x, "fc", width, 1000, "logits")
    return _image_model(net, 224, 1000)


def mobilenet_v2(weights: Weights = "shape-only") -> onnx.ModelProto:
    """MobileNetV2 1.0 for 224 x 224, BatchNorm unfolded."""
    net = Net(weights)
    limits = (net.const(0.0, np.float32), net.const(6.0, np.float32))

    def block(x: str, name: str, c_in: int, c_out: int, k: int, stride: int = 1, group: int = 1) -> str:
        y = net.batch_norm(net.conv(x, f"{name}.0", c_in, c_out, k, stride, group), f"{name}.1", c_out)
        return net.op("Clip", y, *limits)

    x, width = block("image", "features.0", 3, 32, 3, 2), 32
    index = 1
    for expand, out, repeats, first in (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for repeat in range(repeats):
            name, stride, hidden = f"features.{index}", first if repeat == 0 else 1, width * expand
            y = x if expand == 1 else block(x, f"{name}.expand", width, hidden, 1)
            y = block(y, f"{name}.depthwise", hidden, hidden, 3, stride, hidden)
            y = net.batch_norm(net.conv(y, f"{name}.project", hidden, out, 1), f"{name}.project_bn", out)
            x = net.op("Add", x, y) if stride == 1 and width == out else y
            width, index = out, index + 1
    x = block(x, "features.18", width, 1280, 1)
    x = net.op("Flatten", net.op("GlobalAveragePool", x), axis=1)
    net.gemm(x, "classifier", 1280, 1000, "logits")
    return _image_model(net, 224, 1000)


def vit_b16(weights: Weights = "shape-only") -> onnx.ModelProto:
    """ViT-B/16 for 224 x 224: fused QKV reshaped to 5-D, class token expanded to the batch at run time."""
    net, width, heads = Net(weights), 768, 12
    weight, bias = net.param("patch.weight", width, 3, 16, 16), net.param("patch.bias", width, fill=0.0)
    x = net.op("Conv", "image", weight, bias, name="patch", kernel_shape=[16, 16], strides=[16, 16])
    x = net.op("Transpose", net.op("Reshape", x, net.const([0, width, 196])), perm=[0, 2, 1])
    batch = net.op("Gather", net.op("Shape", "image"), net.const([0]), axis=0)
    token_shape = net.op("Concat", batch, net.const([-1, -1]), axis=0)
    token_shape = net.op("Where", net.op("Equal", token_shape, net.const([-1])), net.const([1]), token_shape)
    token = net.op("Expand", net.param("cls_token", 1, 1, width), token_shape)
    x = net.op("Add", net.op("Concat", token, x, axis=1), net.param("pos_embed", 1, 197, width))
    for layer in range(12):
        name = f"blocks.{layer}"
        y = net.linear(net.layer_norm(x, f"{name}.norm1", width), f"{name}.qkv", width, 3 * width)
        y = net.op("Transpose", net.op("Reshape", y, net.const([0, 197, 3, heads, 64])), perm=[2, 0, 3, 1, 4])
        q, k, v = (net.op("Gather", y, net.const(i), axis=0) for i in range(3))
        scores = net.op(
            "MatMul", net.op("Mul", q, net.const(0.125, np.float32)), net.op("Transpose", k, perm=[0, 1, 3, 2])
        )
        y = net.op("Transpose", net.op("MatMul", net.op("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
        x = net.op("Add", x, net.linear(net.op("Reshape", y, net.const([0, 197, width])), f"{name}.proj", width, width))
        y = net.linear(net.layer_norm(x, f"{name}.norm2", width), f"{name}.fc1", width, 4 * width)
        x = net.op("Add", x, net.linear(net.op("Gelu", y), f"{name}.fc2", 4 * width, width))
    x = net.op("Gather", net.layer_norm(x, "norm", width), net.const(0), axis=1)
    net.gemm(x, "head", width, 1000, "logits")
    return _image_model(net, 224, 1000)


def bert_base(weights: Weights = "shape-only", length: int = 128, layers: int = 12) -> onnx.ModelProto:
    """BERT-base: embeddings, 12 encoder layers with separate Q, K and V, hidden states as output."""
    net, width, heads = Net(weights), 768, 12
    words = net.op("Gather", net.param("embeddings.word", 30522, width), "input_ids", axis=0)
    positions = net.op("Gather", net.param("embeddings.position", 512, width), net.const([range(length)]), axis=0)
    x = net.layer_norm(net.op("Add", words, positions), "embeddings.norm", width)
    mask = net.op("Cast", net.op("Unsqueeze", "attention_mask", net.const([1, 2])), to=TensorProto.FLOAT)
    mask = net.op("Mul", net.op("Sub", net.const(1.0, np.float32), mask), net.const(-1e4, np.float32))
    for layer in range(layers):
        name = f"encoder.{layer}"
        split = {
            part: net.op(
                "Transpose",
                net.op("Reshape", net.linear(x, f"{name}.{part}", width, width), net.const([0, 0, heads, 64])),
                perm=[0, 2, 3, 1] if part == "key" else [0, 2, 1, 3],
            )
            for part in ("query", "key", "value")
        }
        scores = net.op("Div", net.op("MatMul", split["query"], split["key"]), net.const(8.0, np.float32))
        weighted = net.op("MatMul", net.op("Softmax", net.op("Add", scores, mask), axis=-1), split["value"])
        merged = net.op("Reshape", net.op("Transpose", weighted, perm=[0, 2, 1, 3]), net.const([0, 0, width]))
        y = net.op("Add", net.linear(merged, f"{name}.output", width, width), x)
        x = net.layer_norm(y, f"{name}.norm1", width)
        y = net.op("Gelu", net.linear(x, f"{name}.up", width, 4 * width))
        y = net.op("Add", net.linear(y, f"{name}.down", 4 * width, width), x)
        x = net.layer_norm(y, f"{name}.norm2", width)
    net.nodes.append(helper.make_node("Identity", [x], ["hidden"], name="last"))
    ids = (TensorProto.INT64, ["batch", length])
    return net.model({"input_ids": ids, "attention_mask": ids}, {"hidden": ["batch", length, width]})


def decoder(
    layers: int,
    weights: Weights = "shape-only",
    width: int = 2048,
    head: int = 128,
    words: int = 32000,
    length: int = 8,
) -> onnx.ModelProto:
    """A causal language model: separate Q, K and V, a feed-forward of four times the width, no caches."""
    net, heads, hidden = Net(weights), width // head, 4 * width
    x = net.op("Gather", net.param("embed", words, width), "input_ids", axis=0)
    for layer in range(layers):
        name = f"layers.{layer}"
        y = net.layer_norm(x, f"{name}.norm1", width)
        q, k, v = (
            net.op(
                "Reshape", net.op("MatMul", y, net.param(f"{name}.{p}", width, width)), net.const([0, 0, heads, head])
            )
            for p in "qkv"
        )
        q, v = (net.op("Transpose", t, perm=[0, 2, 1, 3]) for t in (q, v))
        scores = net.op("MatMul", q, net.op("Transpose", k, perm=[0, 2, 3, 1]))
        scores = net.op("Div", scores, net.const(head**0.5, np.float32))
        y = net.op("Transpose", net.op("MatMul", net.op("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
        y = net.op("Reshape", y, net.const([0, 0, width]))
        x = net.op("Add", x, net.op("MatMul", y, net.param(f"{name}.o", width, width)))
        y = net.op("MatMul", net.layer_norm(x, f"{name}.norm2", width), net.param(f"{name}.up", width, hidden))
        x = net.op("Add", x, net.op("MatMul", net.op("Gelu", y), net.param(f"{name}.down", hidden, width)))
    x = net.layer_norm(x, "norm", width)
    net.nodes.append(helper.make_node("MatMul", [x, net.param("head", width, words)], ["logits"], name="head"))
    return net.model({"input_ids": (TensorProto.INT64, ["batch", length])}, {"logits": ["batch", length, words]})


def chain(nodes: int, weights: Weights = "random", width: int = 16) -> onnx.ModelProto:
    """``nodes`` nodes of Conv and Relu in a row."""
    net = Net(weights)
    x, c_in = "image", 3
    for i in range(nodes // 2):
        x, c_in = net.op("Relu", net.conv(x, f"conv{i}", c_in, width, 3)), width
    net.nodes.append(helper.make_node("GlobalAveragePool", [net.conv(x, "last", c_in, 10, 1)], ["logits"]))
    return net.model({"image": (TensorProto.FLOAT, [1, 3, 32, 32])}, {"logits": [1, 10, 1, 1]})


def residual(nodes: int, weights: Weights = "random", width: int = 16) -> onnx.ModelProto:
    """``nodes`` nodes of residual blocks on one stream: every block couples with all others."""
    net = Net(weights)
    x = net.conv("image", "stem", 3, width, 3)
    for i in range(nodes // 6):
        y = net.op("Relu", net.batch_norm(net.conv(x, f"{i}.conv1", width, width, 3), f"{i}.bn1", width))
        y = net.batch_norm(net.conv(y, f"{i}.conv2", width, width, 3), f"{i}.bn2", width)
        x = net.op("Add", x, y)
    net.nodes.append(helper.make_node("GlobalAveragePool", [net.conv(x, "last", width, 10, 1)], ["logits"]))
    return net.model({"image": (TensorProto.FLOAT, [1, 3, 32, 32])}, {"logits": [1, 10, 1, 1]})
