"""MatMul, Gemm and Einsum, in every layout, and what is flattened into them."""

import pytest

from tests.builders import build, case, roles
from tests.equivalence import assert_groups

CASES = [
    case(
        "Gemm, both transposes, alpha and beta",
        """(float[N,5] x) => (y) {
          a = Gemm<transB=1, alpha=0.5, beta=2.0>(x, w1, b1)
          r = Relu(a)
          t = Transpose(r)
          y = Gemm<transA=1>(t, w2)
        }""",
        ["8: b1:0 w1:0 w2:0"],
        {"w1:1": "graph input 'x' keeps its shape", "w2:1": "graph output 'y' keeps its shape"},
        w1=(8, 5),
        b1=(8,),
        w2=(8, 4),
    ),
    case(
        "Gemm with a bias of one row and of one number",
        """(float[N,5] x) => (y) {
          a = Gemm(x, w1, b1)
          b = Gemm(a, w2, b2)
          y = Gemm(b, w3)
        }""",
        ["8: b1:1 w1:1 w2:0", "6: w2:1 w3:0"],
        {"b2:0": "has a single channel"},
        w1=(5, 8),
        b1=(1, 8),
        w2=(8, 6),
        b2=(1,),
        w3=(6, 4),
    ),
    case(
        "weight on the left",
        """(float[5,N] x) => (y) {
          a = MatMul(w1, x)
          r = Relu(a)
          y = MatMul(w2, r)
        }""",
        ["8: w1:0 w2:1"],
        w1=(8, 5),
        w2=(4, 8),
    ),
    case(
        "flatten, NCHW",
        """(float[N,3,4,4] x) => (y) {
          a = Conv(x, w1, b1)
          f = Flatten(a)
          y = Gemm(f, w2)
        }""",
        ["6: b1:0 w1:0 w2:0*16"],
        w1=(6, 3, 1, 1),
        b1=(6,),
        w2=(96, 4),
    ),
    case(
        "reshape with -1, NCHW, transposed weight",
        """(float[N,3,4,4] x) => (y) {
          a = Conv(x, w1, b1)
          f = Reshape(a, shape)
          y = Gemm<transB=1>(f, w2)
        }""",
        ["6: b1:0 w1:0 w2:1*16"],
        w1=(6, 3, 1, 1),
        b1=(6,),
        shape=[-1, 96],
        w2=(4, 96),
    ),
    case(
        "reshape with 0 and -1",
        """(float[N,3,4,4] x) => (y) {
          a = Conv(x, w1)
          f = Reshape(a, shape)
          y = MatMul(f, w2)
        }""",
        ["6: w1:0 w2:0*16"],
        w1=(6, 3, 1, 1),
        shape=[0, -1],
        w2=(96, 4),
    ),
    case(
        "flatten, NHWC as tf2onnx writes it",
        """(float[N,4,4,3] x) => (y) {
          t = Transpose<perm=[0,3,1,2]>(x)
          a = Conv(t, w1, b1)
          r = Relu(a)
          u = Transpose<perm=[0,2,3,1]>(r)
          f = Reshape(u, shape)
          y = MatMul(f, w2)
        }""",
        ["6: b1:0 w1:0 w2:0*16"],
        w1=(6, 3, 1, 1),
        b1=(6,),
        shape=[-1, 96],
        w2=(96, 4),
    ),
    case(
        "global pool, squeeze, Gemm",
        """(float[N,3,4,4] x) => (y) {
          a = Conv(x, w1)
          g = GlobalAveragePool(a)
          s = Squeeze(g, axes)
          y = Gemm(s, w2)
        }""",
        ["6: w1:0 w2:0"],
        w1=(6, 3, 1, 1),
        axes=[2, 3],
        w2=(6, 4),
    ),
    case(
        "mean over space, channels last, then MatMul",
        """(float[N,4,4,3] x) => (y) {
          a = MatMul(x, w1)
          g = ReduceMean<keepdims=0>(a, axes)
          y = MatMul(g, w2)
        }""",
        ["6: w1:1 w2:0"],
        w1=(3, 6),
        axes=[1, 2],
        w2=(6, 4),
    ),
    case(
        "Einsum as a linear layer",
        """(float[N,7,5] x) => (y) {
          a = Einsum<equation="bti,oi->bto">(x, w1)
          r = Relu(a)
          y = Einsum<equation="...o,ok->...k">(r, w2)
        }""",
        ["8: w1:0 w2:0"],
        w1=(8, 5),
        w2=(8, 4),
    ),
    case(
        "Einsum into heads and back",
        """(float[N,7,5] x) => (y) {
          a = Einsum<equation="bti,ihd->bthd">(x, w1)
          y = Einsum<equation="bthd,hdo->bto">(a, w2)
        }""",
        ["2: w1:1 w2:0", "3: w1:2 w2:1"],
        w1=(5, 2, 3),
        w2=(2, 3, 4),
    ),
    case(
        "a product of two activations",
        """(float[N,7,5] x) => (y) {
          a = MatMul(x, wa)
          b = MatMul(x, wb)
          t = Transpose<perm=[0,2,1]>(b)
          s = MatMul(a, t)
          v = MatMul(x, wv)
          o = MatMul(s, v)
          y = MatMul(o, wo)
        }""",
        ["6: wa:1 wb:1", "8: wo:0 wv:1"],
        wa=(5, 6),
        wb=(5, 6),
        wv=(5, 8),
        wo=(8, 4),
    ),
    case(
        "FusedMatMul with transposes",
        """(float[N,7,5] x) => (float[N,7,7] y) {
          a = MatMul(x, wa)
          b = MatMul(x, wb)
          y = com.microsoft.FusedMatMul<transB=1, alpha=0.5>(a, b)
        }""",
        ["6: wa:1 wb:1"],
        domains={"com.microsoft": 1},
        wa=(5, 6),
        wb=(5, 6),
    ),
    case(
        "FusedMatMul with its rows in front of the batch",
        """(float[3,7,5] x) => (float[7,3,7] y) {
          a = MatMul(x, wa)
          b = MatMul(x, wb)
          t = Transpose<perm=[1,0,2]>(a)
          u = Transpose<perm=[1,0,2]>(b)
          y = com.microsoft.FusedMatMul<transB=1, transBatchA=1, transBatchB=1>(t, u)
        }""",
        ["6: wa:1 wb:1"],
        domains={"com.microsoft": 1},
        wa=(5, 6),
        wb=(5, 6),
    ),
    case(
        "graph network: features through the adjacency",
        """(float[N,5] x, float[N,N] adjacency) => (y) {
          a = MatMul(x, w1)
          m = MatMul(adjacency, a)
          r = Relu(m)
          b = MatMul(r, w2)
          y = MatMul(adjacency, b)
        }""",
        ["8: w1:1 w2:0"],
        w1=(5, 8),
        w2=(8, 4),
    ),
]


@pytest.mark.parametrize(("model", "expected", "reasons"), CASES)
def test_matmul(model, expected, reasons) -> None:
    assert_groups(model, expected, reasons)


def test_mixing_tokens_and_channels() -> None:
    model = build(
        """(float[N,7,5] x) => (y) {
          a = MatMul(x, w1)
          t = Transpose<perm=[0,2,1]>(a)
          u = MatMul(t, wu)
          g = Relu(u)
          v = MatMul(g, wv)
          s = Transpose<perm=[0,2,1]>(v)
          y = MatMul(s, w2)
        }""",
        w1=(5, 8),
        wu=(7, 6),
        wv=(6, 7),
        w2=(8, 4),
    )
    assert_groups(model, ["8: w1:1 w2:0", "6: wu:1 wv:0"], {"wv:1": "graph output 'y' keeps its shape"})


def test_roles_of_a_matmul_of_activations() -> None:
    model = build(
        "(float[N,5] x) => (y) { a = MatMul(x, w1)  b = Add(a, b1)  y = MatMul(b, w2) }", w1=(5, 6), b1=(6,), w2=(6, 4)
    )
    assert roles(model) == {"w1:1": "producer", "b1:0": "pass-through", "w2:0": "consumer"}
