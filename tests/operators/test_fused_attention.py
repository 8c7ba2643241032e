"""Attention, rotary embeddings and mixtures of experts as fused operators of com.microsoft."""

import numpy as np
import pytest

from spa_cli import prune
from tests.builders import build, case, frozen, groups, positive
from tests.equivalence import assert_groups

MS = {"com.microsoft": 1}


def fused(name, text, expected, reasons=None, **weights) -> object:
    return case(name, text, expected, reasons, domains=MS, **weights)


SEPARATE = """(float[{n},{t},6] x) => (float[{n},{t},4] y) {{
  q = MatMul(x, wq)
  k = MatMul(x, wk)
  v = MatMul(x, wv)
  {node}
  y = MatMul(a, wo)
}}"""
QKV = {"wq": (6, 8), "wk": (6, 8), "wv": (6, 12), "wo": (12, 4)}
PROJECTED = """(float[N,T,6] x) => (float[N,T,4] y) {{
  a = com.microsoft.Attention<num_heads=2{more}>(x, w, b{masks})
  y = MatMul(a, wo)
}}"""
GROUPED = {"wq": (6, 64), "wk": (6, 32), "wv": (6, 32), "wo": (64, 4)}
LENGTHS = {"last": np.array([4], np.int32), "total": np.array(5, np.int32)}
TABLES = {"cos": positive(8, 16), "sin": positive(8, 16)}
LOOKED_UP = {"cos:0": "holds positions", "sin:0": "holds positions"}

CASES = [
    fused(
        "Attention: projection and attention in one",
        PROJECTED.format(more="", masks=""),
        ["2: b:0*12 w:1*12 wo:0*4", "2x4: b:0*2 w:1*2 wo:0*2", "2x4: b:0*4 w:1*4"],
        w=(6, 24),
        b=(24,),
        wo=(8, 4),
    ),
    fused(
        "Attention: values of another width, own scale, causal",
        PROJECTED.format(more=", qkv_hidden_sizes=[8,8,12], scale=0.3, unidirectional=1", masks=""),
        ["2: b:0*14 w:1*14 wo:0*6", "2x6: b:0*2 w:1*2 wo:0*2", "2x4: b:0*4 w:1*4"],
        w=(6, 28),
        b=(28,),
        wo=(12, 4),
    ),
    fused(
        "Attention: a bias table per head",
        PROJECTED.format(more="", masks=", , , t").replace("N,T", "2,5"),
        ["2: b:0*12 t:1 w:1*12 wo:0*4", "2x4: b:0*2 w:1*2 wo:0*2", "2x4: b:0*4 w:1*4"],
        {"t:2": "is the mask of an attention", "t:3": "is the mask of an attention"},
        w=(6, 24),
        b=(24,),
        wo=(8, 4),
        t=(1, 2, 5, 5),
    ),
    fused(
        "Attention: a cache that comes in and goes out keeps the heads",
        """(float[1,5,6] x, float[2,1,2,3,4] past) => (float[1,5,4] y, float[2,1,2,8,4] present) {
          h = MatMul(x, wh)
          a, present = com.microsoft.Attention<num_heads=2, unidirectional=1>(h, w, b, , past)
          y = MatMul(a, wo)
        }""",
        ["7: w:0 wh:1"],
        {"w:1": "graph input 'past' keeps its shape", "wo:0": "graph input 'past' keeps its shape"},
        wh=(6, 7),
        w=(7, 24),
        b=(24,),
        wo=(8, 4),
    ),
    fused(
        "MultiHeadAttention",
        SEPARATE.format(n="N", t="T", node="a = com.microsoft.MultiHeadAttention<num_heads=2>(q, k, v)"),
        ["2: wk:1*4 wo:0*6 wq:1*4 wv:1*6", "2x4: wk:1*2 wq:1*2", "2x6: wo:0*2 wv:1*2"],
        **QKV,
    ),
    fused(
        "MultiHeadAttention: one bias for all three, a bias table per head",
        SEPARATE.format(n=2, t=5, node="a = com.microsoft.MultiHeadAttention<num_heads=2>(q, k, v, b, , t)"),
        ["2: b:0*14 t:1 wk:1*4 wo:0*6 wq:1*4 wv:1*6", "2x4: b:0*4 wk:1*2 wq:1*2", "2x6: b:0*2 wo:0*2 wv:1*2"],
        b=(28,),
        t=(2, 2, 5, 5),
        **QKV,
    ),
    fused(
        "MultiHeadAttention: keys and values as heads already",
        """(float[2,5,6] x, float[2,7,6] z) => (float[2,5,4] y) {
          q = MatMul(x, wq)
          k0 = MatMul(z, wk)
          v0 = MatMul(z, wv)
          k1 = Reshape(k0, keys)
          v1 = Reshape(v0, values)
          k = Transpose<perm=[0,2,1,3]>(k1)
          v = Transpose<perm=[0,2,1,3]>(v1)
          a = com.microsoft.MultiHeadAttention<num_heads=2>(q, k, v)
          y = MatMul(a, wo)
        }""",
        ["2: wk:1*4 wo:0*4 wq:1*4 wv:1*4", "2x4: wk:1*2 wo:0*2 wq:1*2 wv:1*2"],
        wq=(6, 8),
        wk=(6, 8),
        wv=(6, 8),
        wo=(8, 4),
        keys=[0, 7, 2, 4],
        values=[0, 7, 2, 4],
    ),
    fused(
        "GroupQueryAttention: key/value heads, query heads of each, dims in steps of the kernel",
        SEPARATE.format(
            n=1,
            t=5,
            node="a, pk, pv = com.microsoft.GroupQueryAttention<num_heads=4, kv_num_heads=2>(q, k, v, , , last, total)",
        ),
        [
            "2: wk:1*16 wo:0*32 wq:1*32 wv:1*16",
            "2: wk:1*16 wo:0*32 wq:1*32 wv:1*16",
            "2x2: wo:0*32 wq:1*32",
        ],
        **GROUPED,
        **LENGTHS,
    ),
    fused(
        "GroupQueryAttention: Q, K and V in one, rotary tables",
        """(float[1,5,6] x) => (float[1,5,4] y) {
          q = MatMul(x, wq)
          a, pk, pv = com.microsoft.GroupQueryAttention<num_heads=4, kv_num_heads=2, do_rotary=1>(
            q, , , , , last, total, cos, sin)
          y = MatMul(a, wo)
        }""",
        ["2: cos:1*8 sin:1*8 wo:0*64 wq:1*128", "2x2: wo:0*64 wq:1*64", "2: wo:0*64 wq:1*128"],
        LOOKED_UP,
        wq=(6, 8 * 32),
        wo=(4 * 32, 4),
        **LENGTHS,
        **TABLES,
    ),
    *(
        fused(
            f"RotaryEmbedding{more}",
            f"""(float[1,5,6] x) => (float[1,5,4] y) {{
              q = MatMul(x, wq)
              a = com.microsoft.RotaryEmbedding<{more}>(q, p, cos, sin)
              y = MatMul(a, wo)
            }}""",
            expected,
            LOOKED_UP,
            wq=(6, 32),
            wo=(32, 4),
            p=np.arange(5)[None],
            cos=positive(8, columns),
            sin=positive(8, columns),
        )
        for more, columns, expected in [
            ("num_heads=2", 8, ["2: wo:0*16 wq:1*16", "8: cos:1 sin:1 wo:0*4 wq:1*4"]),
            ("interleaved=1", 8, ["2: wo:0*16 wq:1*16", "8: cos:1 sin:1 wo:0*4 wq:1*4"]),
            (
                "num_heads=2, rotary_embedding_dim=8",
                4,
                ["2: wo:0*16 wq:1*16", "4: cos:1 sin:1 wo:0*4 wq:1*4", "8: wo:0*2 wq:1*2"],
            ),
        ]
    ),
    fused(
        "RotaryEmbedding of heads that stand apart",
        """(float[1,5,6] x) => (float[1,5,4] y) {
          q = MatMul(x, wq)
          r = Reshape(q, heads)
          t = Transpose<perm=[0,2,1,3]>(r)
          e = com.microsoft.RotaryEmbedding(t, p, cos, sin)
          u = Transpose<perm=[0,2,1,3]>(e)
          f = Reshape(u, flat)
          y = MatMul(f, wo)
        }""",
        ["2: wo:0*8 wq:1*8", "4: cos:1 sin:1 wo:0*4 wq:1*4"],
        LOOKED_UP,
        wq=(6, 16),
        wo=(16, 4),
        heads=[0, 5, 2, 8],
        flat=[0, 5, 16],
        p=np.arange(5)[None],
        cos=positive(8, 4),
        sin=positive(8, 4),
    ),
    fused(
        "MoE: experts stay, their widths go",
        """(float[5,6] x) => (float[5,4] y) {
          h = MatMul(x, wx)
          r = MatMul(h, wr)
          a = com.microsoft.MoE<k=2, activation_type="relu">(h, r, f1, b1, f2, b2)
          y = MatMul(a, wo)
        }""",
        ["6: b2:1 f1:2 f2:1 wo:0 wr:0 wx:1", "8: b1:1 f1:1 f2:2"],
        {"f1:0": "experts are chosen by data", "wr:1": "holds the scores of experts"},
        wx=(6, 6),
        wr=(6, 3),
        f1=(3, 8, 6),
        b1=(3, 8),
        f2=(3, 6, 8),
        b2=(3, 6),
        wo=(6, 4),
    ),
    fused(
        "MoE: gate and its input interleaved",
        """(float[5,6] x) => (float[5,4] y) {
          h = MatMul(x, wx)
          r = MatMul(h, wr)
          a = com.microsoft.MoE<k=2, activation_type="swiglu", swiglu_fusion=1, activation_alpha=1.0>(
            h, r, f1, b1, f2, b2)
          y = MatMul(a, wo)
        }""",
        ["6: b2:1 f1:2 f2:1 wo:0 wr:0 wx:1", "8: b1:1*2 f1:1*2 f2:2"],
        wx=(6, 6),
        wr=(6, 3),
        f1=(3, 16, 6),
        b1=(3, 16),
        f2=(3, 6, 8),
        b2=(3, 6),
        wo=(6, 4),
    ),
    fused(
        "EmbedLayerNormalization",
        """(int32[N,5] x) => (float[N,5,4] y) {
          a, m = com.microsoft.EmbedLayerNormalization(x, , w, p, , g, b)
          y = MatMul(a, wo)
        }""",
        ["6~: b:0 g:0 p:1 w:1 wo:0"],
        {"w:0": "is looked up by data-dependent indices", "p:0": "is looked up by data-dependent indices"},
        w=(9, 6),
        p=(5, 6),
        g=positive(6),
        b=(6,),
        wo=(6, 4),
    ),
]


@pytest.mark.parametrize(("model", "expected", "reasons"), CASES)
def test_groups(model, expected, reasons) -> None:
    assert_groups(model, expected, reasons)


def test_a_default_scale_stays_that_of_the_whole_head() -> None:
    text = SEPARATE.format(n="N", t="T", node="a = com.microsoft.MultiHeadAttention<num_heads=2>(q, k, v)")
    model = build(text, domains=MS, **QKV)
    result = prune(model, ratio=0.5, method="l1", only=["wq/inside"])
    node = next(n for n in result.model.graph.node if n.op_type == "MultiHeadAttention")
    found = {a.name: a for a in node.attribute}
    assert found["scale"].f == pytest.approx(0.5)
    assert found["num_heads"].i == 2
    assert result.model.graph.initializer[0].dims[1] < 8


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (
            "a = com.microsoft.Attention<num_heads=2, do_rotary=1>(x, w, b)",
            "com.microsoft::Attention with do_rotary is not followed",
        ),
        (
            "a = com.microsoft.GatedAdd(x, x, x)",
            "the fused operator com.microsoft::GatedAdd is not followed",
        ),
    ],
)
def test_forms_that_are_not_followed(node, reason) -> None:
    model = build(
        f"(float[1,5,6] x0) => (float[1,5,4] y) {{ x = MatMul(x0, wx)  {node}  y = MatMul(a, wo) }}",
        domains=MS,
        wx=(6, 6),
        w=(6, 24),
        b=(24,),
        wo=(8, 4),
    )
    assert groups(model) == []
    assert frozen(model)["wx:1"] == reason


def test_tokens_that_are_turned_by_their_position_stay() -> None:
    model = build(
        """(float[1,5,6] x) => (float[1,5,4] y) {
          k0 = MatMul(latents, wk)
          k = com.microsoft.RotaryEmbedding(k0, p, cos, sin)
          q = MatMul(x, wq)
          t = Transpose<perm=[0,2,1]>(k)
          s = MatMul(q, t)
          o = MatMul(s, wv)
          y = MatMul(o, wo)
        }""",
        domains=MS,
        latents=(1, 7, 6),
        wk=(6, 8),
        wq=(6, 8),
        wv=(7, 6),
        wo=(6, 4),
        p=np.arange(7)[None],
        cos=positive(8, 4),
        sin=positive(8, 4),
    )
    assert frozen(model)["wv:0"] == "is turned by its position"
    assert "6: wo:0 wv:1" in groups(model)
