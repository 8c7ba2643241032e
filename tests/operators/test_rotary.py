"""Rotary embeddings, gated halves and shared weights: what sits around attention."""

import numpy as np
import pytest

from tests.builders import build, case, groups, positive, random
from tests.equivalence import assert_groups, assert_removing_is_zeroing

BIG = [9223372036854775807]

ROTATE_HALF = """(float[N,T,6] x, float[T,4] cos, float[T,4] sin) => (y) {
  q0 = MatMul(x, wq)
  k0 = MatMul(x, wk)
  q1 = Reshape(q0, heads)
  k1 = Reshape(k0, heads)
  q2 = Transpose<perm=[0,2,1,3]>(q1)
  k2 = Transpose<perm=[0,2,1,3]>(k1)
  qa = Slice(q2, zero, half, last)
  qb = Slice(q2, half, big, last)
  qn = Neg(qb)
  qr = Concat<axis=-1>(qn, qa)
  q3 = Mul(q2, cos)
  q4 = Mul(qr, sin)
  q = Add(q3, q4)
  ka = Slice(k2, zero, half, last)
  kb = Slice(k2, half, big, last)
  kn = Neg(kb)
  kr = Concat<axis=-1>(kn, ka)
  k3 = Mul(k2, cos)
  k4 = Mul(kr, sin)
  k = Add(k3, k4)
  kt = Transpose<perm=[0,1,3,2]>(k)
  s = MatMul(q, kt)
  p = Softmax(s)
  v0 = MatMul(x, wv)
  v1 = Reshape(v0, heads)
  v = Transpose<perm=[0,2,1,3]>(v1)
  o = MatMul(p, v)
  w = Transpose<perm=[0,2,1,3]>(o)
  f = Reshape(w, flat)
  y = MatMul(f, wo)
}"""
SIZES = {"zero": [0], "half": [2], "last": [-1], "big": BIG, "heads": [0, -1, 2, 4], "flat": [0, -1, 8]}
QKV = {"wq": (6, 8), "wk": (6, 8), "wv": (6, 8), "wo": (8, 4)}


def test_rotary_tables_as_inputs_keep_the_dims_of_queries_and_keys() -> None:
    assert_groups(build(ROTATE_HALF, **SIZES, **QKV), ["2: wk:1*4 wo:0*4 wq:1*4 wv:1*4", "2x4: wo:0*2 wv:1*2"])


def test_rotary_tables_as_constants_pair_the_dims() -> None:
    text = ROTATE_HALF.replace(", float[T,4] cos, float[T,4] sin", "").replace("float[N,T,6]", "float[N,5,6]")
    model = build(text, **SIZES, **QKV, cos=random((5, 4), 1), sin=random((5, 4), 2))
    found = groups(model)
    assert "2: wk:1*4 wo:0*4 wq:1*4 wv:1*4" in found
    assert "2: cos:1*2 sin:1*2 wk:1*4 wq:1*4" in found
    assert assert_removing_is_zeroing(model) > 4


def test_rotary_interleaved_by_strided_slices() -> None:
    model = build(
        """(float[N,5,6] x) => (y) {
          q0 = MatMul(x, wq)
          k0 = MatMul(x, wk)
          even = Slice(q0, zero, big, last, two)
          odd = Slice(q0, one, big, last, two)
          a = Mul(even, cos)
          b = Mul(odd, sin)
          c = Sub(a, b)
          d = Mul(even, sin)
          e = Mul(odd, cos)
          f = Add(d, e)
          cu = Unsqueeze(c, last)
          fu = Unsqueeze(f, last)
          st = Concat<axis=-1>(cu, fu)
          q = Reshape(st, flat)
          kt = Transpose<perm=[0,2,1]>(k0)
          y = MatMul(q, kt)
        }""",
        wq=(6, 8),
        wk=(6, 8),
        cos=random((5, 4), 1),
        sin=random((5, 4), 2),
        zero=[0],
        one=[1],
        two=[2],
        last=[-1],
        big=BIG,
        flat=[0, 5, 8],
    )
    assert_groups(model, ["4: cos:1 sin:1 wk:1*2 wq:1*2"])


CASES = [
    case(
        "SwiGLU: halves of one Split",
        """(float[N,T,6] x) => (y) {
          a = MatMul(x, w)
          g, u = Split<axis=-1, num_outputs=2>(a)
          s = Sigmoid(g)
          t = Mul(g, s)
          m = Mul(t, u)
          y = MatMul(m, wy)
        }""",
        ["8: w:1*2 wy:0"],
        w=(6, 16),
        wy=(8, 4),
    ),
    case(
        "GeGLU: halves by Slices with constant bounds",
        """(float[N,T,6] x) => (y) {
          a = MatMul(x, w)
          b = Add(a, c)
          u = Slice(b, zero, eight, last)
          g = Slice(b, eight, sixteen, last)
          e = Erf(g)
          t = Mul(g, e)
          m = Mul(t, u)
          y = MatMul(m, wy)
        }""",
        ["8: c:0*2 w:1*2 wy:0"],
        w=(6, 16),
        c=(16,),
        zero=[0],
        eight=[8],
        sixteen=[16],
        last=[2],
        wy=(8, 4),
    ),
    case(
        "separate gate and up projections",
        """(float[N,T,6] x) => (y) {
          g = MatMul(x, wg)
          u = MatMul(x, wu)
          s = Sigmoid(g)
          t = Mul(g, s)
          m = Mul(t, u)
          y = MatMul(m, wy)
        }""",
        ["8: wg:1 wu:1 wy:0"],
        wg=(6, 8),
        wu=(6, 8),
        wy=(8, 4),
    ),
    case(
        "siamese branches share their weights",
        """(float[N,3,4,4] left, float[N,3,4,4] right) => (y) {
          a = Conv(left, wa, ba)
          b = Conv(right, wa, ba)
          c = Relu(a)
          d = Relu(b)
          e = Conv(c, wb)
          f = Conv(d, wb)
          g = Sub(e, f)
          h = Abs(g)
          y = Conv(h, wy)
        }""",
        ["6: ba:0 wa:0 wb:1", "5: wb:0 wy:1"],
        wa=(6, 3, 1, 1),
        ba=(6,),
        wb=(5, 6, 1, 1),
        wy=(4, 5, 1, 1),
    ),
    case(
        "one layer used three times (ALBERT)",
        """(float[N,5] x) => (y) {
          a = MatMul(x, wi)
          h1 = MatMul(a, w1)
          r1 = Relu(h1)
          k1 = MatMul(r1, w2)
          b = Add(a, k1)
          h2 = MatMul(b, w1)
          r2 = Relu(h2)
          k2 = MatMul(r2, w2)
          c = Add(b, k2)
          h3 = MatMul(c, w1)
          r3 = Relu(h3)
          k3 = MatMul(r3, w2)
          y = MatMul(k3, wy)
        }""",
        ["6: w1:0 w2:1 wi:1 wy:0", "9: w1:1 w2:0"],
        wi=(5, 6),
        w1=(6, 9),
        w2=(9, 6),
        wy=(6, 4),
    ),
    case(
        "tied embedding and head, through Transpose",
        """(int64[N,T] ids) => (y) {
          e = Gather(table, ids)
          h = MatMul(e, w1)
          r = Relu(h)
          k = MatMul(r, w2)
          t = Transpose<perm=[1,0]>(table)
          y = MatMul(k, t)
        }""",
        ["6: table:1 w1:0 w2:1", "9: w1:1 w2:0"],
        {"table:0": "is looked up by data-dependent indices"},
        table=(11, 6),
        w1=(6, 9),
        w2=(9, 6),
    ),
    case(
        "a square weight applied twice",
        """(float[N,5] x) => (y) {
          a = MatMul(x, wa)
          b = MatMul(a, w)
          c = MatMul(b, w)
          y = MatMul(c, wy)
        }""",
        ["6: w:0 w:1 wa:1 wy:0"],
        wa=(5, 6),
        w=(6, 6),
        wy=(6, 4),
    ),
    case(
        "one bias for two layers",
        """(float[N,5] x) => (y) {
          a = Gemm(x, wa, b)
          c = Gemm(x, wc, b)
          d = Gemm(a, wd)
          e = Gemm(c, we)
          y = Add(d, e)
        }""",
        ["6: b:0 wa:1 wc:1 wd:0 we:0"],
        wa=(5, 6),
        b=(6,),
        wc=(5, 6),
        wd=(6, 4),
        we=(6, 4),
    ),
]


@pytest.mark.parametrize(("model", "expected", "reasons"), CASES)
def test_gates_and_shared_weights(model, expected, reasons) -> None:
    assert_groups(model, expected, reasons)


def test_a_transformer_block_cuts_heads_and_hidden_width_exactly() -> None:
    text = """(float[N,5,6] x) => (y) {
      n = LayerNormalization(x, s1, o1)
      a = MatMul(n, w)
      r = Reshape(a, five)
      q0, k0, v0 = Split<axis=2, num_outputs=3>(r)
      q1 = Squeeze(q0, two)
      k1 = Squeeze(k0, two)
      v1 = Squeeze(v0, two)
      q = Transpose<perm=[0,2,1,3]>(q1)
      k = Transpose<perm=[0,2,3,1]>(k1)
      v = Transpose<perm=[0,2,1,3]>(v1)
      m = MatMul(q, k)
      p = Softmax(m)
      c = MatMul(p, v)
      t = Transpose<perm=[0,2,1,3]>(c)
      f = Reshape(t, flat)
      g = MatMul(f, wo)
      h = Add(x, g)
      i = LayerNormalization(h, s2, o2)
      j = MatMul(i, w1)
      z = Relu(j)
      b = MatMul(z, w2)
      y = Add(h, b)
    }"""
    norms = {"s1": positive(6), "s2": positive(6), "o1": (6,), "o2": (6,)}
    sizes = {"five": np.array([0, 5, 3, 2, 4]), "two": [2], "flat": [0, 5, 8]}
    model = build(text, w=(6, 24), wo=(8, 6), w1=(6, 9), w2=(9, 6), **norms, **sizes)
    found = groups(model)
    assert "9: w1:1 w2:0" in found
    assert "2: w:1*12 wo:0*4" in found
    assert all("~" not in g for g in found)
    assert assert_removing_is_zeroing(model) > 5
