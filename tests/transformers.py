"""Transformer families as their exporters write them, at toy size: attention, feed-forward, norms and positions differ.

Weights of attention are called ``attn.*``, those that make the hidden width of a feed-forward ``ffn.up.*``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.architectures import Net

WIDTH, HEADS, DIM, HIDDEN, TOKENS = 12, 3, 4, 20, 6
INNER = HEADS * DIM


class Toy(Net):
    """Layers that several families share."""

    def __init__(self) -> None:
        super().__init__("random")

    def floats(self, value: object) -> str:
        return self.const(value, np.float32)

    def op(self, kind: str, *inputs: str, name: str = "", outputs: int = 1, **attributes: object) -> str:
        """As in ``Net``; a name that is taken gets a number (a layer that is used twice)."""
        taken = {n.name for n in self.nodes}
        while name in taken:
            name += "_again"
        return super().op(kind, *inputs, name=name, outputs=outputs, **attributes)

    def dense(self, x: str, name: str, c_in: int, c_out: int, bias: bool = True) -> str:
        if bias:
            return self.linear(x, name, c_in, c_out)
        return self.op("MatMul", x, self.param(f"{name}.weight", c_in, c_out))

    def heads(self, x: str, count: int = HEADS, keys: bool = False) -> str:
        """``(N, T, heads * dim)`` to ``(N, heads, T, dim)``, or its transpose for keys."""
        shaped = self.op("Reshape", x, self.const([0, -1, count, DIM]))
        return self.op("Transpose", shaped, perm=[0, 2, 3, 1] if keys else [0, 2, 1, 3])

    def attend(self, q: str, k: str, v: str, change: Callable[[str], str] = lambda s: s, scaled: bool = False) -> str:
        """Weighted values of transposed keys, heads side by side again."""
        scores = self.op("MatMul", q, k)
        if not scaled:
            scores = self.op("Div", scores, self.floats(2.0))
        y = self.op("MatMul", self.op("Softmax", change(scores), axis=-1), v)
        return self.op("Reshape", self.op("Transpose", y, perm=[0, 2, 1, 3]), self.const([0, -1, INNER]))

    def gelu(self, x: str) -> str:
        y = self.op("Add", self.op("Erf", self.op("Div", x, self.floats(2**0.5))), self.floats(1.0))
        return self.op("Mul", self.op("Mul", x, y), self.floats(0.5))

    def silu(self, x: str) -> str:
        return self.op("Mul", x, self.op("Sigmoid", x))

    def rms_norm(self, x: str, name: str) -> str:
        """Written out, as T5's and Llama's are."""
        mean = self.op("ReduceMean", self.op("Pow", x, self.floats(2.0)), self.const([-1]), keepdims=1)
        root = self.op("Sqrt", self.op("Add", mean, self.floats(1e-6)))
        return self.op("Mul", self.param(f"{name}.weight", WIDTH, fill=1.0), self.op("Div", x, root))

    def mlp(self, x: str, act: str | None = None, name: str = "ffn") -> str:
        y = self.dense(x, f"{name}.up", WIDTH, HIDDEN)
        return self.dense(self.op(act, y) if act else self.gelu(y), f"{name}.down", HIDDEN, WIDTH)

    def gated(self, x: str) -> str:
        gate, up = (self.dense(x, f"ffn.up.{p}", WIDTH, HIDDEN, bias=False) for p in ("gate", "in"))
        return self.dense(self.op("Mul", self.silu(gate), up), "ffn.down", HIDDEN, WIDTH, bias=False)

    def add(self, a: str, b: str) -> str:
        return self.op("Add", a, b)

    def tokens(self) -> str:
        words = self.op("Gather", self.param("embed.word", 30, WIDTH), "ids", axis=0)
        return self.add(words, self.param("embed.position", 1, TOKENS, WIDTH))

    def text(self, x: str, batch: str | int = "N") -> onnx.ModelProto:
        """Scores of the first token of ``(N, T, width)``."""
        self.gemm(self.op("Gather", x, self.const(0), axis=1), "head", WIDTH, 5, "scores")
        return self.model({"ids": (TensorProto.INT64, [batch, TOKENS])}, {"scores": [batch, 5]})

    def rotate(self, x: str) -> str:
        """Rotary positions on ``(N, heads, T, dim)``: halves swapped, one negated."""
        angles = np.outer(np.arange(TOKENS), 0.5 ** np.arange(DIM // 2))
        cos, sin = (self.floats(np.tile(f(angles), (1, 2))[None, None]) for f in (np.cos, np.sin))
        first = self.op("Slice", x, self.const([0]), self.const([DIM // 2]), self.const([3]))
        second = self.op("Slice", x, self.const([DIM // 2]), self.const([2**62]), self.const([3]))
        turned = self.op("Concat", self.op("Neg", second), first, axis=-1)
        return self.add(self.op("Mul", x, cos), self.op("Mul", turned, sin))

    def separate(self, x: str, source: str = "", change: Callable[[str], str] = lambda s: s, bias: bool = True) -> str:
        """Attention with a projection each for queries, keys and values."""
        q = self.heads(self.dense(x, "attn.q", WIDTH, INNER, bias))
        k = self.heads(self.dense(source or x, "attn.k", WIDTH, INNER, bias), keys=True)
        v = self.heads(self.dense(source or x, "attn.v", WIDTH, INNER, bias))
        return self.dense(self.attend(q, k, v, change), "attn.o", INNER, WIDTH, bias)

    def pre_norm(self, x: str) -> str:
        """A block with LayerNorm before each half."""
        x = self.add(x, self.separate(self.layer_norm(x, "norm1", WIDTH)))
        return self.add(x, self.mlp(self.layer_norm(x, "norm2", WIDTH)))


def bert(net: Toy) -> onnx.ModelProto:
    x = net.layer_norm(net.tokens(), "norm0", WIDTH)
    mask = net.op("Mul", net.op("Cast", net.op("Equal", "ids", net.const(0)), to=1), net.floats(-1e4))
    mask = net.op("Unsqueeze", mask, net.const([1, 2]))
    x = net.layer_norm(net.add(x, net.separate(x, change=lambda s: net.add(s, mask))), "norm1", WIDTH)
    return net.text(net.layer_norm(net.add(x, net.mlp(x)), "norm2", WIDTH))


def distilbert(net: Toy) -> onnx.ModelProto:
    x = net.layer_norm(net.tokens(), "norm0", WIDTH)
    q = net.op("Div", net.heads(net.dense(x, "attn.q", WIDTH, INNER)), net.floats(2.0))
    k, v = (net.heads(net.dense(x, f"attn.{p}", WIDTH, INNER), keys=p == "k") for p in "kv")
    blank = net.op("Unsqueeze", net.op("Equal", "ids", net.const(0)), net.const([1, 2]))
    scores = net.op("MatMul", q, k)
    blank = net.op("Expand", blank, net.op("Shape", scores))
    p = net.op("Softmax", net.op("Where", blank, net.floats(-1e30), scores), axis=-1)
    y = net.op("Reshape", net.op("Transpose", net.op("MatMul", p, v), perm=[0, 2, 1, 3]), net.const([0, -1, INNER]))
    x = net.layer_norm(net.add(net.dense(y, "attn.o", INNER, WIDTH), x), "norm1", WIDTH)
    return net.text(net.layer_norm(net.add(net.mlp(x), x), "norm2", WIDTH))


def albert(net: Toy) -> onnx.ModelProto:
    """Two layers with the same weights."""
    x = net.layer_norm(net.tokens(), "norm0", WIDTH)
    for _ in range(2):
        x = net.layer_norm(net.add(x, net.separate(x)), "norm1", WIDTH)
        x = net.layer_norm(net.add(x, net.mlp(x)), "norm2", WIDTH)
    unique = {t.name: t for t in net.initializers}
    net.initializers = list(unique.values())
    return net.text(x)


def gpt2(net: Toy) -> onnx.ModelProto:
    """Conv1D as Gemm on flattened tokens, QKV in one, a causal mask from a constant triangle."""

    def conv1d(x: str, name: str, c_in: int, c_out: int) -> str:
        flat = net.op("Reshape", x, net.const([-1, c_in]))
        y = net.op("Gemm", flat, net.param(f"{name}.weight", c_in, c_out), net.param(f"{name}.bias", c_out))
        return net.op("Reshape", y, net.const([-1, TOKENS, c_out]))

    x = net.tokens()
    both = conv1d(net.layer_norm(x, "norm1", WIDTH), "attn.qkv", WIDTH, 3 * INNER)
    q = net.op("Split", both, net.const([INNER] * 3), axis=2, outputs=3)
    q, k, v = net.heads(q), net.heads(f"{q}_1", keys=True), net.heads(f"{q}_2")
    triangle = net.const(np.tril(np.ones((1, 1, TOKENS, TOKENS))), bool)
    y = net.attend(q, k, v, lambda s: net.op("Where", triangle, s, net.floats(-1e4)))
    x = net.add(conv1d(y, "attn.o", INNER, WIDTH), x)
    y = conv1d(net.layer_norm(x, "norm2", WIDTH), "ffn.up", WIDTH, HIDDEN)
    x = net.add(x, conv1d(net.op("Gelu", y, approximate="tanh"), "ffn.down", HIDDEN, WIDTH))
    return net.text(net.layer_norm(x, "norm", WIDTH))


def t5(net: Toy) -> onnx.ModelProto:
    """RMSNorm written out, no scale, a bias looked up per bucket and head."""
    x = net.tokens()
    buckets = net.const(np.abs(np.subtract.outer(range(TOKENS), range(TOKENS))))
    table = net.op("Gather", net.param("attn.relative", TOKENS, HEADS), buckets, axis=0)
    bias = net.op("Unsqueeze", net.op("Transpose", table, perm=[2, 0, 1]), net.const([0]))
    y = net.rms_norm(x, "norm1")
    q, k, v = (net.heads(net.dense(y, f"attn.{p}", WIDTH, INNER, False), keys=p == "k") for p in "qkv")
    y = net.attend(q, k, v, lambda s: net.add(s, bias), scaled=True)
    x = net.add(x, net.dense(y, "attn.o", INNER, WIDTH, False))
    y = net.op("Relu", net.dense(net.rms_norm(x, "norm2"), "ffn.up", WIDTH, HIDDEN, False))
    return net.text(net.rms_norm(net.add(x, net.dense(y, "ffn.down", HIDDEN, WIDTH, False)), "norm"))


def _repeated(net: Toy, x: str, times: int) -> str:
    """Key/value heads repeated for their queries (``repeat_kv``)."""
    y = net.op("Unsqueeze", x, net.const([2]))
    y = net.op("Expand", y, net.const([1, 2, times, TOKENS, DIM]))
    return net.op("Reshape", y, net.const([0, 2 * times, TOKENS, DIM]))


def llama(net: Toy) -> onnx.ModelProto:
    """Four query heads on two key/value heads, rotary positions, a gated feed-forward."""
    x = net.tokens()
    y = net.rms_norm(x, "norm1")
    q = net.rotate(net.heads(net.dense(y, "attn.q", WIDTH, 4 * DIM, False), 4))
    k, v = (net.heads(net.dense(y, f"attn.{p}", WIDTH, 2 * DIM, False), 2) for p in "kv")
    k, v = _repeated(net, net.rotate(k), 2), _repeated(net, v, 2)
    y = net.op("MatMul", q, net.op("Transpose", k, perm=[0, 1, 3, 2]))
    y = net.op("MatMul", net.op("Softmax", net.op("Mul", y, net.floats(0.5)), axis=-1), v)
    y = net.op("Reshape", net.op("Transpose", y, perm=[0, 2, 1, 3]), net.const([0, -1, 4 * DIM]))
    x = net.add(x, net.dense(y, "attn.o", 4 * DIM, WIDTH, False))
    return net.text(net.rms_norm(net.add(x, net.gated(net.rms_norm(x, "norm2"))), "norm"))


def phi3(net: Toy) -> onnx.ModelProto:
    """QKV in one, cut by slices; gate and input of the feed-forward in one, cut by Split."""
    x = net.tokens()
    both = net.dense(net.rms_norm(x, "norm1"), "attn.qkv", WIDTH, 3 * INNER, False)
    cuts = [net.const([i * INNER]) for i in range(4)]
    q, k, v = (net.op("Slice", both, cuts[i], cuts[i + 1], net.const([2])) for i in range(3))
    q, k = net.rotate(net.heads(q)), net.op("Transpose", net.rotate(net.heads(k)), perm=[0, 1, 3, 2])
    x = net.add(x, net.dense(net.attend(q, k, net.heads(v)), "attn.o", INNER, WIDTH, False))
    y = net.dense(net.rms_norm(x, "norm2"), "ffn.up", WIDTH, 2 * HIDDEN, False)
    gate = net.op("Split", y, net.const([HIDDEN, HIDDEN]), axis=-1, outputs=2)
    y = net.dense(net.op("Mul", f"{gate}_1", net.silu(gate)), "ffn.down", HIDDEN, WIDTH, False)
    return net.text(net.rms_norm(net.add(x, y), "norm"))


def mixture(net: Toy) -> onnx.ModelProto:
    """Two experts, both run, weighted by a router."""
    x = net.tokens()
    x = net.add(x, net.separate(net.rms_norm(x, "norm1"), bias=False))
    y = net.rms_norm(x, "norm2")
    router = net.op("Softmax", net.dense(y, "router", WIDTH, 2, False), axis=-1)
    for expert in range(2):
        share = net.op("Slice", router, net.const([expert]), net.const([expert + 1]), net.const([2]))
        hidden = net.op("Relu", net.dense(y, f"ffn.up.{expert}", WIDTH, HIDDEN, False))
        x = net.add(x, net.op("Mul", share, net.dense(hidden, f"ffn.down.{expert}", HIDDEN, WIDTH, False)))
    return net.text(net.rms_norm(x, "norm"))


def _image(net: Toy, x: str, size: int = 8) -> onnx.ModelProto:
    net.gemm(x, "head", WIDTH, 5, "scores")
    return net.model({"image": (TensorProto.FLOAT, ["N", 3, size, size])}, {"scores": ["N", 5]})


def _patches(net: Toy) -> str:
    weight, bias = net.param("patch.weight", WIDTH, 3, 4, 4), net.param("patch.bias", WIDTH)
    x = net.op("Conv", "image", weight, bias, kernel_shape=[4, 4], strides=[4, 4])
    return net.op("Transpose", net.op("Reshape", x, net.const([0, WIDTH, 4])), perm=[0, 2, 1])


def vit(net: Toy) -> onnx.ModelProto:
    """QKV reshaped to five axes, a class token, LayerScale."""
    x = _patches(net)
    batch = net.op("Gather", net.op("Shape", "image"), net.const([0]), axis=0)
    token = net.op("Expand", net.param("cls", 1, 1, WIDTH), net.op("Concat", batch, net.const([1, 1]), axis=0))
    x = net.add(net.op("Concat", token, x, axis=1), net.param("position", 1, 5, WIDTH))
    y = net.dense(net.layer_norm(x, "norm1", WIDTH), "attn.qkv", WIDTH, 3 * INNER)
    y = net.op("Transpose", net.op("Reshape", y, net.const([0, 5, 3, HEADS, DIM])), perm=[2, 0, 3, 1, 4])
    q, k, v = (net.op("Gather", y, net.const(i), axis=0) for i in range(3))
    y = net.attend(q, net.op("Transpose", k, perm=[0, 1, 3, 2]), v)
    x = net.add(x, net.op("Mul", net.dense(y, "attn.o", INNER, WIDTH), net.param("scale1", WIDTH)))
    x = net.add(x, net.op("Mul", net.mlp(net.layer_norm(x, "norm2", WIDTH), "Gelu"), net.param("scale2", WIDTH)))
    return _image(net, net.op("Gather", net.layer_norm(x, "norm", WIDTH), net.const(0), axis=1))


def swin(net: Toy) -> onnx.ModelProto:
    """Rolled windows of two by two, a relative-position table per head, patch merging."""
    weight = net.param("patch.weight", WIDTH, 3, 2, 2)
    x = net.op("Conv", "image", weight, kernel_shape=[2, 2], strides=[2, 2])
    x = net.op("Transpose", x, perm=[0, 2, 3, 1])
    y = net.layer_norm(x, "norm1", WIDTH)
    for axis in (1, 2):
        parts = [net.op("Slice", y, net.const([a]), net.const([b]), net.const([axis])) for a, b in ((1, 4), (0, 1))]
        y = net.op("Concat", *parts, axis=axis)
    y = net.op("Transpose", net.op("Reshape", y, net.const([-1, 2, 2, 2, 2, WIDTH])), perm=[0, 1, 3, 2, 4, 5])
    y = net.dense(net.op("Reshape", y, net.const([-1, 4, WIDTH])), "attn.qkv", WIDTH, 3 * INNER)
    y = net.op("Transpose", net.op("Reshape", y, net.const([-1, 4, 3, HEADS, DIM])), perm=[2, 0, 3, 1, 4])
    parts = [net.op("Slice", y, *(net.const([a]) for a in (i, i + 1, 0))) for i in range(3)]
    q, k, v = (net.op("Squeeze", part, net.const([0])) for part in parts)
    index = net.const(np.arange(16) % 9)
    table = net.op("Reshape", net.op("Gather", net.param("attn.table", 9, HEADS), index), net.const([4, 4, HEADS]))
    bias = net.op("Unsqueeze", net.op("Transpose", table, perm=[2, 0, 1]), net.const([0]))
    y = net.attend(q, net.op("Transpose", k, perm=[0, 1, 3, 2]), v, lambda s: net.add(s, bias))
    y = net.op("Reshape", net.dense(y, "attn.o", INNER, WIDTH), net.const([-1, 2, 2, 2, 2, WIDTH]))
    y = net.op("Reshape", net.op("Transpose", y, perm=[0, 1, 3, 2, 4, 5]), net.const([-1, 4, 4, WIDTH]))
    x = net.add(x, y)
    x = net.add(x, net.mlp(net.layer_norm(x, "norm2", WIDTH)))
    steps, ends = net.const([2, 2]), net.const([2**62, 2**62])
    starts = [net.const([row, column]) for column in (0, 1) for row in (0, 1)]
    corners = [net.op("Slice", x, start, ends, net.const([1, 2]), steps) for start in starts]
    x = net.layer_norm(net.op("Concat", *corners, axis=-1), "norm3", 4 * WIDTH)
    x = net.dense(x, "merge", 4 * WIDTH, WIDTH, False)
    return _image(net, net.op("ReduceMean", x, net.const([1, 2]), keepdims=0))


def clip(net: Toy) -> onnx.ModelProto:
    """Heads folded into the batch; QuickGELU."""
    x = _patches(net)
    y = net.layer_norm(x, "norm1", WIDTH)
    q, k, v = (net.heads(net.dense(y, f"attn.{p}", WIDTH, INNER)) for p in "qkv")
    q, k, v = (net.op("Reshape", t, net.const([-1, 4, DIM])) for t in (net.op("Mul", q, net.floats(0.5)), k, v))
    p = net.op("Softmax", net.op("MatMul", q, net.op("Transpose", k, perm=[0, 2, 1])), axis=-1)
    y = net.op("Reshape", net.op("MatMul", p, v), net.const([-1, HEADS, 4, DIM]))
    y = net.op("Reshape", net.op("Transpose", y, perm=[0, 2, 1, 3]), net.const([-1, 4, INNER]))
    x = net.add(x, net.dense(y, "attn.o", INNER, WIDTH))
    y = net.dense(net.layer_norm(x, "norm2", WIDTH), "ffn.up", WIDTH, HIDDEN)
    y = net.op("Mul", y, net.op("Sigmoid", net.op("Mul", y, net.floats(1.702))))
    x = net.add(x, net.dense(y, "ffn.down", HIDDEN, WIDTH))
    return _image(net, net.op("ReduceMean", x, net.const([1]), keepdims=0))


def whisper(net: Toy) -> onnx.ModelProto:
    """Convolutions over the spectrogram, keys without a bias."""
    weight, bias = net.param("conv.weight", WIDTH, 8, 3), net.param("conv.bias", WIDTH)
    x = net.op("Conv", "mel", weight, bias, pads=[1, 1], strides=[2])
    x = net.add(net.op("Transpose", net.op("Gelu", x), perm=[0, 2, 1]), net.param("position", TOKENS, WIDTH))
    y = net.layer_norm(x, "norm1", WIDTH)
    q = net.heads(net.op("Mul", net.dense(y, "attn.q", WIDTH, INNER), net.floats(0.5)))
    k = net.heads(net.dense(y, "attn.k", WIDTH, INNER, bias=False), keys=True)
    v = net.heads(net.dense(y, "attn.v", WIDTH, INNER))
    x = net.add(x, net.dense(net.attend(q, k, v, scaled=True), "attn.o", INNER, WIDTH))
    x = net.layer_norm(net.add(x, net.mlp(net.layer_norm(x, "norm2", WIDTH), "Gelu")), "norm", WIDTH)
    net.gemm(net.op("ReduceMean", x, net.const([1]), keepdims=0), "head", WIDTH, 5, "scores")
    return net.model({"mel": (TensorProto.FLOAT, ["N", 8, 2 * TOKENS])}, {"scores": ["N", 5]})


def detr(net: Toy) -> onnx.ModelProto:
    """Learned queries attend to an image, with positions added to the keys."""
    image = _patches(net)
    batch = net.op("Gather", net.op("Shape", "image"), net.const([0]), axis=0)
    queries = net.op("Expand", net.param("queries", 1, 3, WIDTH), net.op("Concat", batch, net.const([1, 1]), axis=0))
    q = net.heads(net.dense(queries, "attn.q", WIDTH, INNER))
    k = net.heads(net.dense(net.add(image, net.param("position", 1, 4, WIDTH)), "attn.k", WIDTH, INNER), keys=True)
    v = net.heads(net.dense(image, "attn.v", WIDTH, INNER))
    x = net.layer_norm(net.add(queries, net.dense(net.attend(q, k, v), "attn.o", INNER, WIDTH)), "norm1", WIDTH)
    x = net.layer_norm(net.add(x, net.mlp(x, "Relu")), "norm2", WIDTH)
    return _image(net, net.op("ReduceMax", x, net.const([1]), keepdims=0))


def llama_23(net: Toy) -> onnx.ModelProto:
    """The operators of opset 23: RMSNormalization, RotaryEmbedding, Attention with grouped queries."""
    angles = np.outer(np.arange(TOKENS), 0.5 ** np.arange(DIM // 2))
    tables = [net.floats(np.tile(f(angles), (1, 1, 1))) for f in (np.cos, np.sin)]
    x = net.tokens()
    y = net.op("RMSNormalization", x, net.param("norm1.weight", WIDTH, fill=1.0), axis=-1)
    q, k, v = (net.dense(y, f"attn.{p}", WIDTH, n * DIM, False) for p, n in (("q", 4), ("k", 2), ("v", 2)))
    q, k = (net.op("RotaryEmbedding", t, *tables, num_heads=n) for t, n in ((q, 4), (k, 2)))
    y = net.op("Attention", q, k, v, q_num_heads=4, kv_num_heads=2, is_causal=1)
    x = net.add(x, net.dense(y, "attn.o", 4 * DIM, WIDTH, False))
    y = net.op("RMSNormalization", x, net.param("norm2.weight", WIDTH, fill=1.0), axis=-1)
    model = net.text(net.add(x, net.gated(y)), batch=1)
    model.opset_import[0].version = 23
    model.ir_version = 11
    return model


def fused_bert(net: Toy) -> onnx.ModelProto:
    """What the ONNX Runtime transformer optimizer makes of BERT."""

    def fused(kind: str, *inputs: str, **attributes: object) -> str:
        result = net.op(kind, *inputs, **attributes)
        net.nodes[-1].domain = "com.microsoft"
        return result

    x = net.layer_norm(net.tokens(), "norm0", WIDTH)
    weight, bias = net.param("attn.qkv.weight", WIDTH, 3 * INNER), net.param("attn.qkv.bias", 3 * INNER)
    y = fused("Attention", x, weight, bias, num_heads=HEADS)
    y = net.op("MatMul", y, net.param("attn.o.weight", INNER, WIDTH))
    norms = [net.param(f"norm{i}.{p}", WIDTH, fill=f) for i in (1, 2) for p, f in (("weight", 1.0), ("bias", 0.0))]
    x = fused("SkipLayerNormalization", y, x, *norms[:2], net.param("attn.o.bias", WIDTH))
    y = net.op("MatMul", x, net.param("ffn.up.weight", WIDTH, HIDDEN))
    y = fused("BiasGelu", y, net.param("ffn.up.bias", HIDDEN))
    y = net.op("MatMul", y, net.param("ffn.down.weight", HIDDEN, WIDTH))
    x = fused("SkipLayerNormalization", y, x, *norms[2:], net.param("ffn.down.bias", WIDTH))
    model = net.text(x)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model


FAMILIES = [
    bert,
    distilbert,
    albert,
    gpt2,
    t5,
    llama,
    phi3,
    mixture,
    vit,
    swin,
    clip,
    whisper,
    detr,
    llama_23,
    fused_bert,
]


def family(build: Callable[[Toy], onnx.ModelProto]) -> onnx.ModelProto:
    """The toy model of a family, biases and tables filled with noise too."""
    net = Toy()
    model = build(net)
    rng = np.random.default_rng(1)
    for tensor in model.graph.initializer:
        if tensor.name.endswith(".bias"):
            noise = rng.standard_normal(tensor.dims).astype(np.float32) / 4
            tensor.CopyFrom(numpy_helper.from_array(noise, tensor.name))
    return model
