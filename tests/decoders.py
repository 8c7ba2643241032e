"""Tiny decoders with caches, with the names that optimum, onnxruntime-genai and transformers.js give them."""

from __future__ import annotations

import numpy as np
import onnx

from tests.builders import build, graphs_of

VOCABULARY, HEADS, DIMS = 24, 2, 16

_ATTENTION = """
  q0 = MatMul(n, wq)  k0 = MatMul(n, wk)  v0 = MatMul(n, wv)
  q1 = Reshape(q0, split)  k1 = Reshape(k0, split)  v1 = Reshape(v0, split)
  q2 = Transpose<perm=[0,2,1,3]>(q1)  k2 = Transpose<perm=[0,2,1,3]>(k1)  v2 = Transpose<perm=[0,2,1,3]>(v1)
  PK = Concat<axis=2>(K, k2)  PV = Concat<axis=2>(V, v2)
  kt = Transpose<perm=[0,1,3,2]>(PK)
  s = MatMul(q2, kt)
  m0 = Cast<to=1>(attention_mask)  m1 = Sub(one, m0)  m2 = Mul(m1, low)  m3 = Unsqueeze(m2, axes)
  a0 = Add(s, m3)  a1 = Softmax<axis=-1>(a0)  a2 = MatMul(a1, PV)
  a3 = Transpose<perm=[0,2,1,3]>(a2)  o = Reshape(a3, joined)
"""
_REST = """
  h1 = MatMul(o, wo)  h2 = Add(h1, n)  f0 = MatMul(h2, wf)  f1 = Relu(f0)  f2 = MatMul(f1, wg)
  h3 = Add(h2, f2)  logits = MatMul(h3, wl)
"""
_GROUPED = """
  q0 = MatMul(n, wq)  k0 = MatMul(n, wk)  v0 = MatMul(n, wv)
  o, PK, PV = com.microsoft.GroupQueryAttention<num_heads=2, kv_num_heads=2>(q0, k0, v0, K, V, last, total)
"""
_LENGTHS = """
  i0 = ReduceSum<keepdims=0>(attention_mask, second)  i1 = Sub(i0, unit)  last = Cast<to=6>(i1)
  i2 = Shape(attention_mask)  i3 = Gather(i2, at)  total = Cast<to=6>(i3)
"""
_CACHE = "float[batch_size,2,past_sequence_length,{d}] K, float[batch_size,2,past_sequence_length,{d}] V"
_PRESENT = "float[batch_size,2,total,{d}] PK, float[batch_size,2,total,{d}] PV"


def decoder(kind: str, positions: bool = True) -> onnx.ModelProto:
    """A layer of attention with a cache and a feed-forward one, tied to nobody's shapes.

    ``kind``: "optimum" (standard operators), "genai" (GroupQueryAttention, lengths from the mask), "lengths" (the same,
    its lengths as inputs of the graph).
    """
    d = DIMS if kind != "optimum" else 4
    inputs = ["int64[batch_size,sequence_length] input_ids"]
    if kind == "lengths":
        inputs += ["int32[batch_size] seqlens_k", "int32 total_sequence_length"]
    else:
        inputs.append(f"int64[batch_size,{'sums' if kind == 'optimum' else 'total_sequence_length'}] attention_mask")
    if positions:
        inputs.append("int64[batch_size,sequence_length] position_ids")
    inputs.append(_CACHE.format(d=d))
    start = "e = Gather(words, input_ids) "
    start += "p = Gather(places, position_ids)  n = Add(e, p)" if positions else "n = Identity(e)"
    grouped = _GROUPED.replace("last, total", "seqlens_k, total_sequence_length") if kind == "lengths" else _GROUPED
    body = {"optimum": _ATTENTION, "genai": _LENGTHS + grouped, "lengths": grouped}[kind]
    outputs = f"float[batch_size,sequence_length,{VOCABULARY}] logits, {_PRESENT.format(d=d)}"
    weights = _weights(kind, d)
    if positions:
        weights["places"] = (64, 8)
    text = f"({', '.join(inputs)}) => ({outputs}) {{ {start} {body} {_REST} }}"
    domains = {} if kind == "optimum" else {"com.microsoft": 1}
    return _named(build(text, domains=domains, **weights))


def _weights(kind: str, d: int) -> dict[str, object]:
    wide = HEADS * d
    weights: dict[str, object] = {
        "words": (VOCABULARY, 8), "wq": (8, wide), "wk": (8, wide), "wv": (8, wide), "wo": (wide, 8),
        "wf": (8, 32), "wg": (32, 8), "wl": (8, VOCABULARY),
    }  # fmt: skip
    if kind == "optimum":
        weights |= {"split": [0, 0, HEADS, d], "joined": [0, 0, wide], "axes": [1, 2]}
        weights |= {"one": np.float32([1]), "low": np.float32([-1e4])}
    elif kind == "genai":
        weights |= {"second": [1], "unit": [1], "at": np.array(1)}
    return weights


def merged() -> onnx.ModelProto:
    """A decoder with and without a cache, as transformers.js has it: an input says which branch it takes."""
    d = 4
    joined = _ATTENTION.replace("PK = Concat<axis=2>(K, k2)  PV = Concat<axis=2>(V, v2)", """
      PK = If (use_cache_branch) <then_branch = g1 () => (float[B,2,T,4] jk) { jk = Concat<axis=2>(K, k2) },
        else_branch = g2 () => (float[B,2,T,4] ik) { ik = Identity(k2) }>
      PV = If (use_cache_branch) <then_branch = g3 () => (float[B,2,T,4] jv) { jv = Concat<axis=2>(V, v2) },
        else_branch = g4 () => (float[B,2,T,4] iv) { iv = Identity(v2) }>
    """)  # fmt: skip
    inputs = (
        "int64[batch_size,sequence_length] input_ids, int64[batch_size,sums] attention_mask, bool[1] use_cache_branch"
    )
    text = f"""({inputs}, {_CACHE.format(d=d)}) => (float[batch_size,sequence_length,{VOCABULARY}] logits, {
        _PRESENT.format(d=d)
    }) {{ e = Gather(words, input_ids)  n = Identity(e) {joined} {_REST} }}"""
    return _named(build(text, **_weights("optimum", d)))


def _named(model: onnx.ModelProto) -> onnx.ModelProto:
    names = {
        "K": "past_key_values.0.key", "V": "past_key_values.0.value", "PK": "present.0.key", "PV": "present.0.value"
    }  # fmt: skip
    for info in (*model.graph.input, *model.graph.output):
        info.name = names.get(info.name, info.name)
        for dim in info.type.tensor_type.shape.dim:
            if dim.dim_param in ("sums", "total"):
                dim.dim_param = "past_sequence_length + sequence_length"
    for node in (node for each in graphs_of(model.graph) for node in each.node):
        node.input[:] = [names.get(n, n) for n in node.input]
        node.output[:] = [names.get(n, n) for n in node.output]
    return model


def streaming() -> onnx.ModelProto:
    """Frames in, an LSTM whose states are inputs and outputs."""
    return build(
        """(float[1,4,6] frames, float[1,1,8] a, float[1,1,8] b) => (float[4,1,3] y, float[1,1,8] an, float[1,1,8] bn) {
          t = Transpose<perm=[1,0,2]>(frames)  f = MatMul(t, wi)  r = Relu(f)
          s, an, bn = LSTM<hidden_size=8>(r, w, u, z, , a, b)
          q = Squeeze(s, one)  y = MatMul(q, wo)
        }""",
        wi=(6, 12), w=(1, 32, 12), u=(1, 32, 8), z=(1, 64), one=[1], wo=(8, 3),
    )  # fmt: skip
