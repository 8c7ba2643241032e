"""Attention as exporters write it, and as one operator."""

import numpy as np
import pytest

from tests.builders import build, case, frozen, groups
from tests.equivalence import assert_groups, assert_removing_is_zeroing

D = 6  # model width
QKV = {"wq": (D, 8), "wk": (D, 8), "wv": (D, 8), "wo": (8, 4)}
HEADS = {"heads": [0, -1, 2, 4], "flat": [0, -1, 8]}

SEPARATE = """(float[N,T,6] x) => (y) {{
  q0 = MatMul(x, wq)
  k0 = MatMul({source}, wk)
  v0 = MatMul({source}, wv)
  q1 = Reshape(q0, heads)
  k1 = Reshape(k0, heads)
  v1 = Reshape(v0, heads)
  q = Transpose<perm=[0,2,1,3]>(q1)
  k = Transpose<perm=[0,2,3,1]>(k1)
  v = Transpose<perm=[0,2,1,3]>(v1)
  s = MatMul(q, k)
  t = Mul(s, scale)
  {bias}
  p = Softmax<axis=-1>(u)
  o = MatMul(p, v)
  w = Transpose<perm=[0,2,1,3]>(o)
  f = Reshape(w, flat)
  y = MatMul(f, wo)
}}"""

MHA = ["2: wk:1*4 wo:0*4 wq:1*4 wv:1*4", "2x4: wk:1*2 wq:1*2", "2x4: wo:0*2 wv:1*2"]

CASES = [
    case(
        "separate QKV",
        SEPARATE.format(source="x", bias="u = Identity(t)"),
        MHA,
        scale=0.5,
        **QKV,
        **HEADS,
    ),
    case(
        "cross attention",
        SEPARATE.format(source="z", bias="u = Identity(t)").replace("x) =>", "x, float[N,S,6] z) =>"),
        MHA,
        scale=0.5,
        **QKV,
        **HEADS,
    ),
    case(
        "relative-position bias as a parameter per head",
        SEPARATE.format(source="x", bias="u = Add(t, table)").replace("N,T,6", "N,7,6"),
        ["2: table:1 wk:1*4 wo:0*4 wq:1*4 wv:1*4", *MHA[1:]],
        scale=0.5,
        table=(1, 2, 7, 7),
        **QKV,
        **HEADS,
    ),
    case(
        "relative-position bias looked up by a constant index (Swin)",
        SEPARATE.format(
            source="x",
            bias="""g = Gather(table, index)
  g1 = Reshape(g, square)
  g2 = Transpose<perm=[2,0,1]>(g1)
  g3 = Unsqueeze(g2, zero)
  u = Add(t, g3)""",
        ).replace("N,T,6", "N,4,6"),
        ["2: table:1 wk:1*4 wo:0*4 wq:1*4 wv:1*4", *MHA[1:]],
        scale=0.5,
        table=(9, 2),
        index=np.random.default_rng(0).permutation(16) % 9,
        square=[4, 4, -1],
        zero=[0],
        **QKV,
        **HEADS,
    ),
    case(
        "fused QKV, Reshape to 5-D, Transpose, Gather (timm)",
        """(float[N,7,6] x) => (y) {
          a = MatMul(x, w)
          b = Add(a, c)
          r = Reshape(b, five)
          t = Transpose<perm=[2,0,3,1,4]>(r)
          q = Gather<axis=0>(t, i0)
          k = Gather<axis=0>(t, i1)
          v = Gather<axis=0>(t, i2)
          kt = Transpose<perm=[0,1,3,2]>(k)
          s = MatMul(q, kt)
          p = Softmax(s)
          o = MatMul(p, v)
          u = Transpose<perm=[0,2,1,3]>(o)
          f = Reshape(u, flat)
          y = MatMul(f, wo)
        }""",
        ["2: c:0*12 w:1*12 wo:0*4", "2x4: c:0*6 w:1*6 wo:0*2"],
        w=(6, 24),
        c=(24,),
        five=[-1, 7, 3, 2, 4],
        i0=0,
        i1=1,
        i2=2,
        flat=[-1, 7, 8],
        wo=(8, 4),
    ),
    case(
        "fused QKV, 3-way Split of the width",
        """(float[N,T,6] x) => (y) {
          b = MatMul(x, w)
          q0, k0, v0 = Split<axis=2>(b, thirds)
          q1 = Reshape(q0, heads)
          k1 = Reshape(k0, heads)
          v1 = Reshape(v0, heads)
          q = Transpose<perm=[0,2,1,3]>(q1)
          k = Transpose<perm=[0,2,3,1]>(k1)
          v = Transpose<perm=[0,2,1,3]>(v1)
          s = MatMul(q, k)
          p = Softmax(s)
          o = MatMul(p, v)
          u = Transpose<perm=[0,2,1,3]>(o)
          f = Reshape(u, flat)
          y = MatMul(f, wo)
        }""",
        ["2: w:1*12 wo:0*4", "2x4: w:1*4", "2x4: w:1*2 wo:0*2"],
        w=(6, 24),
        thirds=[8, 8, 8],
        wo=(8, 4),
        **HEADS,
    ),
    case(
        "heads per token: QKV interleaved per head (GPT-NeoX)",
        """(float[N,T,6] x) => (y) {
          a = MatMul(x, w)
          r = Reshape(a, each)
          q, k, v = Split<axis=-1, num_outputs=3>(r)
          qt = Transpose<perm=[0,2,1,3]>(q)
          kt = Transpose<perm=[0,2,3,1]>(k)
          vt = Transpose<perm=[0,2,1,3]>(v)
          s = MatMul(qt, kt)
          p = Softmax(s)
          o = MatMul(p, vt)
          u = Transpose<perm=[0,2,1,3]>(o)
          f = Reshape(u, flat)
          y = MatMul(f, wo)
        }""",
        ["2: w:1*12 wo:0*4", "4: w:1*4", "4: w:1*2 wo:0*2"],
        w=(6, 24),
        each=[0, -1, 2, 12],
        flat=[0, -1, 8],
        wo=(8, 4),
    ),
    case(
        "batch of heads: (batch x heads, tokens, dim) (PyTorch MultiheadAttention)",
        """(float[7,1,6] x) => (y) {
          q0 = MatMul(x, wq)
          k0 = MatMul(x, wk)
          v0 = MatMul(x, wv)
          q1 = Reshape(q0, heads)
          k1 = Reshape(k0, heads)
          v1 = Reshape(v0, heads)
          q = Transpose<perm=[1,0,2]>(q1)
          k = Transpose<perm=[1,2,0]>(k1)
          v = Transpose<perm=[1,0,2]>(v1)
          s = MatMul(q, k)
          p = Softmax(s)
          o = MatMul(p, v)
          u = Transpose<perm=[1,0,2]>(o)
          f = Reshape(u, flat)
          y = MatMul(f, wo)
        }""",
        MHA,
        heads=[7, 2, 4],
        flat=[7, 8],
        **QKV,
    ),
    case(
        "Einsum attention",
        """(float[N,T,6] x) => (y) {
          q0 = MatMul(x, wq)
          k0 = MatMul(x, wk)
          v0 = MatMul(x, wv)
          q = Reshape(q0, heads)
          k = Reshape(k0, heads)
          v = Reshape(v0, heads)
          s = Einsum<equation="bqhd,bkhd->bhqk">(q, k)
          p = Softmax(s)
          o = Einsum<equation="bhqk,bkhd->bqhd">(p, v)
          f = Reshape(o, flat)
          y = MatMul(f, wo)
        }""",
        MHA,
        **QKV,
        **HEADS,
    ),
]

GROUPED = """(float[N,T,6] x) => (y) {{
  q0 = MatMul(x, wq)
  k0 = MatMul(x, wk)
  v0 = MatMul(x, wv)
  q1 = Reshape(q0, qheads)
  k1 = Reshape(k0, kheads)
  v1 = Reshape(v0, kheads)
  q = Transpose<perm=[0,2,1,3]>(q1)
  k2 = Transpose<perm=[0,2,1,3]>(k1)
  v2 = Transpose<perm=[0,2,1,3]>(v1)
  {repeat}
  kt = Transpose<perm=[0,1,3,2]>(k)
  s = MatMul(q, kt)
  p = Softmax(s)
  o = MatMul(p, v)
  u = Transpose<perm=[0,2,1,3]>(o)
  f = Reshape(u, flat)
  y = MatMul(f, wo)
}}"""

# as transformers' repeat_kv is exported: Unsqueeze, Expand, Reshape
REPEAT = """shape = Shape(k2)
  n = Gather(shape, i0)
  t = Gather(shape, i2)
  wanted = Concat<axis=0>(n, kv, two, t, dim)
  merged = Concat<axis=0>(n, four, t, dim)
  ku = Unsqueeze(k2, i2)
  ke = Expand(ku, wanted)
  k = Reshape(ke, merged)
  vu = Unsqueeze(v2, i2)
  ve = Expand(vu, wanted)
  v = Reshape(ve, merged)"""
REPEATED = {"i0": [0], "i2": [2], "kv": [2], "two": [2], "four": [4], "dim": [4]}
GQA = {"wq": (6, 16), "wk": (6, 8), "wv": (6, 8), "wo": (16, 4), "qheads": [0, -1, 4, 4], "flat": [0, -1, 16]}


def test_grouped_queries_follow_their_key_and_value_head() -> None:
    model = build(GROUPED.format(repeat=REPEAT), kheads=[0, -1, 2, 4], **GQA, **REPEATED)
    found = groups(model)
    assert "2: wk:1*4 wo:0*8 wq:1*8 wv:1*4" in found
    assert any("wk:1*2 wq:1*4" in g for g in found)
    assert any("wo:0*4 wv:1*2" in g for g in found)
    assert assert_removing_is_zeroing(model) > 4


def test_multi_query_heads_share_one_key_and_value_head() -> None:
    weights = {**GQA, "wk": (6, 4), "wv": (6, 4)}
    model = build(GROUPED.format(repeat="k = Identity(k2)  v = Identity(v2)"), kheads=[0, -1, 1, 4], **weights)
    found = groups(model)
    assert "4: wo:0*4 wq:1*4" in found
    assert "4: wk:1 wq:1*4" in found
    assert "4: wo:0*4 wv:1" in found
    assert assert_removing_is_zeroing(model) == 7


@pytest.mark.parametrize(("model", "expected", "reasons"), CASES)
def test_attention_as_exported(model, expected, reasons) -> None:
    assert_groups(model, expected, reasons)


def test_cache_inputs_and_outputs_keep_every_head() -> None:
    model = build(
        """(float[N,T,6] x, float[N,2,P,4] past_k, float[N,2,P,4] past_v) => (y, present_k, present_v) {
          q0 = MatMul(x, wq)
          k0 = MatMul(x, wk)
          v0 = MatMul(x, wv)
          q1 = Reshape(q0, heads)
          k1 = Reshape(k0, heads)
          v1 = Reshape(v0, heads)
          q = Transpose<perm=[0,2,1,3]>(q1)
          k2 = Transpose<perm=[0,2,1,3]>(k1)
          v2 = Transpose<perm=[0,2,1,3]>(v1)
          present_k = Concat<axis=2>(past_k, k2)
          present_v = Concat<axis=2>(past_v, v2)
          kt = Transpose<perm=[0,1,3,2]>(present_k)
          s = MatMul(q, kt)
          p = Softmax(s)
          o = MatMul(p, present_v)
          u = Transpose<perm=[0,2,1,3]>(o)
          f = Reshape(u, flat)
          h = MatMul(f, wo)
          y = MatMul(h, wy)
        }""",
        **{**QKV, "wo": (8, 5)},
        **HEADS,
        wy=(5, 4),
    )
    assert_groups(model, ["5: wo:1 wy:0"])
    reasons = frozen(model)
    assert reasons["wk:1"] == "graph input 'past_k' keeps its shape"
    assert reasons["wo:0"] in ("graph input 'past_k' keeps its shape", "graph input 'past_v' keeps its shape")


OPERATOR = """(float[N,T,6] x) => (float[N,T,4] y) {{
  q = MatMul(x, wq)
  k = MatMul(x, wk)
  v = MatMul(x, wv)
  a = Attention<q_num_heads=2, kv_num_heads=2{scale}>(q, k, v)
  y = MatMul(a, wo)
}}"""


@pytest.mark.parametrize("scale", [", scale=0.5", ""], ids=["scale given", "scale by the size of a head"])
def test_attention_as_one_operator(scale) -> None:
    assert_groups(build(OPERATOR.format(scale=scale), opset=23, ir=11, **QKV), MHA)


def test_attention_operator_with_grouped_queries() -> None:
    text = OPERATOR.format(scale="").replace("q_num_heads=2", "q_num_heads=4")
    model = build(text, opset=23, ir=11, **{**QKV, "wq": (D, 16), "wo": (16, 4)})
    assert "2: wk:1*4 wo:0*8 wq:1*8 wv:1*4" in groups(model)
    assert assert_removing_is_zeroing(model) > 4
