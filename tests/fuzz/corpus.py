"""What fuzzing found, made small: models as text, weights by their shapes or their integers (``tests.builders``)."""

from __future__ import annotations

from typing import Any

import onnx
import onnx.parser
from onnx import numpy_helper

from tests.builders import weight

# name: (graph, weights, the operator whose rule fails on the node, "" where it has words for it or the file is refused)
MODELS: dict[str, tuple[str, dict[str, Any], str]] = {
    "Conv of a scalar": ("(float[] x) => (float[2,5,6,6] y) { y = Conv(x, w) }", {"w": (5, 8, 1, 1)}, "Conv"),
    "Conv with a number for a weight": (
        "(float[N,3,6,6] x) => (float[N,4,6,6] y) { w = Constant<value_int = -1>() y = Conv(x, w) }",
        *({}, "Conv"),
    ),
    "Conv in a million groups": (
        "(float[N,3,4,4] x) => (float[N,8,4,4] y) { y = Conv<group = 1000000>(x, w) }",
        *({"w": (8, 1, 1, 1)}, "Conv"),
    ),
    "Conv in less than no group": (
        "(float[N,3,6,6] x) => (float[N,8,6,6] y) { a = Conv(x, v) y = Conv<group = -256>(a, w) }",
        *({"v": (8, 3, 1, 1), "w": (8, 4, 1, 1)}, "Conv"),
    ),
    "Gemm of a number": ("(float[N,5] x) => (float[N,4] y) { y = Gemm(n, w) }", {"n": 3, "w": (6, 4)}, "Gemm"),
    "MatMulNBits without scales": (
        """(float[N,64] x) => (float[N,6] y) {
          y = com.microsoft.MatMulNBits<K = 64, N = 6, bits = 4, block_size = 16>(x, x, s)
        }""",
        *({"s": (24,)}, "MatMulNBits"),
    ),
    "LSTM whose weights are text": (
        """(float[T,2,5] x) => (float[T,1,2,4] y) {
          w = Constant<value_strings = ["a"]>()
          y = LSTM<hidden_size = 4>(x, w, r, b, "", h, h)
        }""",
        *({"r": (1, 16, 4), "b": (1, 32), "h": (1, 2, 4)}, "LSTM"),
    ),
    "GRU with its weights in another order": (
        '(float[T,N,5] x) => (float[T,2,N,4] y) { y = GRU<hidden_size = 4, direction = "bidirectional">(x, r, b, w) }',
        *({"w": (2, 12, 5), "r": (2, 12, 4), "b": (2, 24)}, "GRU"),
    ),
    "LSTM of a bias": (
        '(float[N,3,4] x) => (float[N,1,4,3] y) { y = LSTM<hidden_size = 3, direction = "reverse">(a, w, r, b) }',
        *({"a": (1, 32), "w": (1, 12, 4), "r": (1, 12, 3), "b": (1, 24)}, "LSTM"),
    ),
    "a quantised LSTM of two inputs": (
        "(float[4,5] x, int64[4] t) => (float[4,4] y) { s = Shape(x) y = com.microsoft.DynamicQuantizeLSTM(t, s) }",
        *({}, "DynamicQuantizeLSTM"),
    ),
    "Tile less than no times": (
        "(float[N,3,4,4] x) => (float[N,4,4,4] y) { g = GlobalAveragePool(x) y = Tile(g, r) }",
        *({"r": [1, 1, -2147483648, 4]}, ""),
    ),
    "Concat of other ranks": (
        "(float[N,T,5] x) => (float[N,T,4] y) { y = Concat<axis = 0>(x, x, w) }",
        {"w": [8]},
        "",
    ),
    "Slice with fewer axes than starts": (
        "(float[N,3,4,4] x) => (float[N,4,2,2] y) { y = Slice(x, s, e, a, t) }",
        *({"s": [1, -3, 1], "e": [-2147483647, 99], "a": [2, 3], "t": [2, 2]}, ""),
    ),
    "Slice along no axis": (
        "(float[N,3,4,4] x) => (float[N,5,4,4] y) { y = Slice(x, s, e, a, t) }",
        *({"s": [-1], "e": [-(2**63) + 1], "a": [], "t": [-1]}, ""),
    ),
    "ScatterND of fewer updates": (
        "(float[2,3] x) => (float[2,3] y) { y = ScatterND(x, i, x) }",
        {"i": [0, 1]},
        "",
    ),
    "ScatterND at floats": ("(float[2,3] x) => (float[2,3] y) { y = ScatterND(x, x, x) }", {}, ""),
    "Gather at a position that there is not": (
        "(float[N,5] x) => (float[N,6] y) { a = MatMul(x, w) y = Gather<axis = 1>(a, i) }",
        *({"w": (5, 6), "i": [4, 1000, 1, 2, 3, 0]}, "Gather"),
    ),
    "Gather of a number": (
        "(float[N,5] x) => (float[N,4] y) { t = Constant<value_float = 1.0>() g = Gather(t, i) y = Mul(x, g) }",
        *({"i": 0}, ""),
    ),
    "Unsqueeze at floats": (
        "(float[N,3,5,5] x) => (float[N,4,5,5] y) { y = Unsqueeze(x, w) }",
        {"w": (4, 6, 1, 1)},
        "",
    ),
    "Scan along an axis too few": (
        """(float[2,5,3] x) => (float[2,3,4] y) {
          y = Scan<num_scan_inputs = 1, scan_input_axes = [2], scan_output_axes = [-1],
                   body = turn (float[2,5] a) => (float[2,5] b) { b = Relu(a) }>(x, w)
        }""",
        *({"w": (7, 4)}, ""),
    ),
    "an operator of nothing": ("(float[N,3] x) => (float[N,3] y) { y = ParametricSoftplus() }", {}, ""),
    "QLinearAdd of one": ("(float[N,5] x) => (float[N,5] y) { y = com.microsoft.QLinearAdd(x) }", {}, "QLinearAdd"),
    "MoE of two": ("(float[N,7,5] x) => (float[N,7,5] y) { y = com.microsoft.MoE(x, x) }", {}, "MoE"),
    "RotaryEmbedding of tables": (
        """(float[1,5,6] x) => (float[1,5,6] y) {
          y = com.microsoft.RotaryEmbedding<num_heads = 2, rotary_embedding_dim = 8>(s, c, x, p)
        }""",
        *({"s": (8, 4), "c": (8, 4), "p": [0, 1, 2, 3, 4]}, "RotaryEmbedding"),
    ),
    "Attention of a scalar": (
        "(float[] x) => (float[N,T,8] y) { y = com.microsoft.Attention<num_heads = 2>(x, w, b) }",
        *({"w": (6, 24), "b": (24,)}, "Attention"),
    ),
    "Attention of four axes": (
        '(float[2,5,6,3] x) => (float[2,5,8] y) { y = com.microsoft.Attention<num_heads = 2>(x, w, b, "", "", m) }',
        *({"w": (6, 24), "b": (24,), "m": (1, 2, 5, 5)}, "Attention"),
    ),
    "GroupQueryAttention without heads": (
        "(int64[N,7] i) => (float[N,7,6] y) { y = com.microsoft.GroupQueryAttention(t, i) }",
        *({"t": (9, 6)}, "GroupQueryAttention"),
    ),
    "GroupQueryAttention of less than no heads": (
        """(float[1,5,6] x) => (float[1,5,4] a) {
          a, k, v = com.microsoft.GroupQueryAttention<num_heads = 4, kv_num_heads = -3>(x, x, x, "", "", l, n)
        }""",
        *({"l": [4], "n": 5}, ""),
    ),
    "a length from an axis that there is not": (
        """(float[T,N,5] x) => (float[T,1,N,4] y) {
          o = Constant<value_int = 7>()
          s = Shape(x)
          n = Gather(s, o)
          z = Concat<axis = 0>(n, f)
          y = GRU<hidden_size = 4>(x, w, r, b, "", z)
        }""",
        *({"w": (1, 12, 5), "r": (1, 12, 4), "b": (1, 24), "f": [4]}, ""),
    ),
    "Range of a trillion": (
        "(float[N,5] x) => (float[N,6] y, int64[K] r) { r = Range(a, b, c) y = MatMul(x, w) }",
        *({"a": 0, "b": 10**12, "c": 1, "w": (5, 6)}, ""),
    ),
    "an input of a quintillion": (
        "(float[1000000000,1000000000,5] x) => (float[1000000000,1000000000,6] y) { y = MatMul(x, w) }",
        *({"w": (5, 6)}, ""),
    ),
    "a weight of no rows and too many columns": (
        "(float[N,5] x) => (float[N,6] y) { e = Identity(v) y = MatMul(x, w) }",
        *({"w": (5, 6), "v": (0, 2**40)}, ""),
    ),
    "a Conv of the constant evaluation that takes room": (
        "(float[N,5] x) => (float[N,5] y) { c = Conv<dilations = [1000000000], pads = [500000000, 500000000]>(v, k) "
        "y = Add(x, c) }",
        *({"v": (1, 1, 5), "k": (1, 1, 2)}, ""),
    ),
}


def model(name: str) -> onnx.ModelProto:
    """One of the models; nothing is inferred or checked."""
    text, weights, _ = MODELS[name]
    header = '<ir_version: 8, opset_import: ["" : 18, "com.microsoft" : 1]>'
    made = onnx.parser.parse_model(f"{header}\ngraph {text.strip()}")
    made.graph.initializer.extend(numpy_helper.from_array(weight(n, value), n) for n, value in weights.items())
    for node in made.graph.node:
        node.name = f"{node.op_type}_{node.output[0]}"
    return made
