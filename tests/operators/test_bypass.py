"""Blocks that go whole: which are found, that removing one equals zeroing it, and what is left of the graph."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from spa_cli.analysis import Analysis
from spa_cli.channels.selection import Selection
from spa_cli.channels.slices import shape_of
from spa_cli.errors import CutError
from spa_cli.plan import from_cut
from tests.builders import analysed, as_constant_nodes, build, positive, with_initializer_inputs
from tests.equivalence import assert_same, feeds, run, signature, zeroed

BASIC = """(float[N,3,6,6] x) => (y) {
  s = Conv(x, ws, bs)
  a = Conv<pads=[1,1,1,1]>(s, w1, b1)
  r = Relu(a)
  b = Conv<pads=[1,1,1,1]>(r, w2, b2)
  j = Add(b, s)
  o = Relu(j)
  y = Conv(o, wy)
}"""
BASIC_WEIGHTS = {
    "ws": (6, 3, 1, 1),
    "bs": (6,),
    "w1": (5, 6, 3, 3),
    "b1": (5,),
    "w2": (6, 5, 3, 3),
    "b2": (6,),
    "wy": (4, 6, 1, 1),
}


def _norm(name: str, width: int) -> dict[str, object]:
    return {f"s{name}": positive(width), f"o{name}": (width,), f"m{name}": (width,), f"v{name}": positive(width)}


BOTTLENECK = """(float[N,3,6,6] x) => (y) {
  s = Conv(x, ws)
  a = Conv(s, w1)
  an = BatchNormalization(a, s1, o1, m1, v1)
  ar = Relu(an)
  b = Conv<pads=[1,1,1,1]>(ar, w2)
  bn = BatchNormalization(b, s2, o2, m2, v2)
  br = Relu(bn)
  c = Conv(br, w3)
  cn = BatchNormalization(c, s3, o3, m3, v3)
  j = Add(cn, s)
  o = Relu(j)
  y = Conv(o, wy)
}"""
BOTTLENECK_WEIGHTS = {
    "ws": (8, 3, 1, 1),
    "w1": (4, 8, 1, 1),
    "w2": (5, 4, 3, 3),
    "w3": (8, 5, 1, 1),
    "wy": (4, 8, 1, 1),
    **_norm("1", 4),
    **_norm("2", 5),
    **_norm("3", 8),
}
# with squeeze and excite inside: a block in a block
INVERTED = """(float[N,3,6,6] x) => (y) {
  s = Conv(x, ws)
  a = Conv(s, w1, b1)
  ar = Clip(a, zero, six)
  d = Conv<pads=[1,1,1,1], group=6>(ar, wd, bd)
  p = GlobalAveragePool(d)
  q = Conv(p, wq, bq)
  qr = Relu(q)
  e = Conv(qr, we, be)
  g = Sigmoid(e)
  h = Mul(d, g)
  c = Conv(h, w2, b2)
  j = Add(s, c)
  y = Conv(j, wy)
}"""
INVERTED_WEIGHTS = {
    "ws": (4, 3, 1, 1),
    "w1": (6, 4, 1, 1),
    "b1": (6,),
    "zero": 0.0,
    "six": 6.0,
    "wd": (6, 1, 3, 3),
    "bd": (6,),
    "wq": (2, 6, 1, 1),
    "bq": (2,),
    "we": (6, 2, 1, 1),
    "be": (6,),
    "w2": (4, 6, 1, 1),
    "b2": (4,),
    "wy": (3, 4, 1, 1),
}
TRANSFORMER = """(float[N,T,5] x) => (y) {
  s = MatMul(x, ws)
  n = LayerNormalization(s, g1, h1)
  q0 = MatMul(n, wq)
  q1 = Reshape(q0, heads)
  q = Transpose<perm=[0,2,1,3]>(q1)
  k0 = MatMul(n, wk)
  k1 = Reshape(k0, heads)
  k = Transpose<perm=[0,2,3,1]>(k1)
  v0 = MatMul(n, wv)
  v1 = Reshape(v0, heads)
  v = Transpose<perm=[0,2,1,3]>(v1)
  t = MatMul(q, k)
  p = Softmax(t)
  c = MatMul(p, v)
  c1 = Transpose<perm=[0,2,1,3]>(c)
  c2 = Reshape(c1, flat)
  u0 = MatMul(c2, wo)
  u = Add(bo, u0)
  j = Add(u, s)
  m = LayerNormalization(j, g2, h2)
  f0 = MatMul(m, wf)
  f1 = Add(f0, bf)
  f2 = Erf(f1)
  f3 = MatMul(f2, wg)
  f4 = Add(f3, bg)
  f = Mul(f4, scale)
  i = Add(j, f)
  y = MatMul(i, wy)
}"""
TRANSFORMER_WEIGHTS = {
    "ws": (5, 6),
    "g1": positive(6),
    "h1": (6,),
    "g2": positive(6),
    "h2": (6,),
    "bo": (6,),
    "wo": (8, 6),
    "wq": (6, 8),
    "wk": (6, 8),
    "wv": (6, 8),
    "heads": [0, 0, 2, 4],
    "flat": [0, 0, 8],
    "wy": (6, 3),
    "wf": (6, 7),
    "bf": (7,),
    "wg": (7, 6),
    "bg": (6,),
    "scale": positive(6),
}
# nothing but sums
PLAIN = "(float[N,T,5] x) => (y) {{ s = MatMul(x, ws)\n{}\n y = MatMul(j, wy) }}"
PLAIN_WEIGHTS = {"ws": (5, 6), "w1": (6, 7), "w2": (7, 6), "wy": (6, 3)}


def plain(body: str, opset: int = 18, **weights: object) -> onnx.ModelProto:
    """A stream ``s`` of 6 channels, what ``body`` makes of it, and a layer that reads the sum ``j``."""
    return build(PLAIN.format(body), opset=opset, **(PLAIN_WEIGHTS | weights))


def blocks_of(model: onnx.ModelProto) -> list[str]:
    """What may go whole: the layer that then gives a constant, and the groups that go."""
    analysis = analysed(model)
    groups = analysis.grouping.groups
    return [f"{b.name}: {' '.join(sorted(groups[i].name for i in b.groups))}" for b in analysis.blocks.values()]


def without(analysis: Analysis, whole: list[int], share: float = 0.0) -> onnx.ModelProto:
    """The model without blocks, and without a share of the channels of every group that is left and exact."""
    selection, rng = Selection(analysis.grouping), np.random.default_rng(0)
    for index, group in enumerate(analysis.grouping.groups):
        if share and group.exact:
            selection.keep(index, np.argsort(rng.random(shape_of(group)), axis=-1) >= int(share * group.channels))
    return analysis.cut(selection.copy_emptied(whole))


def assert_zeroing(model: onnx.ModelProto, rtol: float = 1e-3) -> int:
    """Every block alone, with channels elsewhere, and all at once: removing equals zeroing; how many were removed."""
    analysis = analysed(model)
    given = list(feeds(model, analysis.input_shapes, np.random.default_rng(0)))
    found = list(analysis.blocks)
    for whole in [*([i] for i in found), found]:
        for share in (0.0, 0.4):
            work = without(analysis, whole, share)
            plan = from_cut(work, {})
            onnx.checker.check_model(work.model, full_check=True)
            assert signature(work.model) == signature(model)
            read = {i for n in work.model.graph.node for i in n.input}
            assert share or {t.name for t in work.model.graph.initializer} <= read, "something is left over"
            masked = zeroed(model, plan.kept)
            for each in given:
                assert_same(model, run(masked, each), run(work.model, each), rtol, str(whole))
    return len(found)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        pytest.param(build(BASIC, **BASIC_WEIGHTS), ["Conv_b: w1"], id="basic block"),
        # the first convolution's group dies with the second's
        pytest.param(build(BOTTLENECK, **BOTTLENECK_WEIGHTS), ["Conv_c: w1 w2"], id="bottleneck"),
        pytest.param(
            build(INVERTED, **INVERTED_WEIGHTS), ["Conv_c: w1 wq", "Conv_e: wq"], id="inverted residual with a gate"
        ),
        pytest.param(
            build(TRANSFORMER, **TRANSFORMER_WEIGHTS),
            ["MatMul_u0: wq/heads wq/qk wv/v", "MatMul_f3: wf"],
            id="pre-norm transformer layer",
        ),
    ],
)
def test_blocks_of_networks(model, expected) -> None:
    assert blocks_of(model) == expected
    assert assert_zeroing(model) == len(expected)


@pytest.mark.parametrize(
    ("body", "weights"),
    [
        pytest.param("a = MatMul(s, w1)\n b = MatMul(a, w2)\n j = Add(s, b)", {}, id="no bias"),
        pytest.param("a = MatMul(s, w1)\n b = MatMul(a, w2)\n c = Add(b, o)\n j = Add(c, s)", {"o": (6,)}, id="bias"),
        pytest.param(
            "a = MatMul(s, w1)\n b = MatMul(a, w2)\n c = Add(b, o)\n d = Dropout(c)\n j = Sum(s, d)",
            {"o": (1, 1, 6)},
            id="dropout, a sum",
        ),
        pytest.param("a = MatMul(s, w1)\n b = MatMul(a, w2)\n j = Sub(s, b)", {}, id="a difference"),
        pytest.param(
            "a = MatMul(s, w1)\n b = MatMul(a, w2)\n c = Add(b, o)\n g = Sigmoid(c)\n j = Mul(s, g)",
            {"o": (6,)},
            id="a gate",
        ),
        pytest.param(
            "n = LayerNormalization(s, g, h)\n a = MatMul(n, w1)\n b = MatMul(a, w2)\n i = Add(n, b)\n"
            "j = LayerNormalization(i, g2, h2)",
            {"g": positive(6), "h": (6,), "g2": positive(6), "h2": (6,)},
            id="post-norm",
        ),
        pytest.param(
            "r = Reshape(s, rows)\n a = MatMul(r, w1)\n b = Gemm<beta=0.5>(a, w2, o)\n z = Shape(s)\n"
            "c = Reshape(b, z)\n j = Add(s, c)",
            {"rows": [-1, 6], "o": (6,)},
            id="Gemm on rows",
        ),
        pytest.param('a = MatMul(s, w1)\n b = Einsum<equation="bti,io->bto">(a, w2)\n j = Add(s, b)', {}, id="Einsum"),
        pytest.param(
            "a = MatMul(s, w1)\n u = Sigmoid(a)\n m = Mul(a, u)\n b = MatMul(m, w2)\n j = Add(s, b)", {}, id="Swish"
        ),
        pytest.param(
            "a = MatMul(s, w1)\n b = MatMul(a, w2)\n c = Mul(b, half)\n d = Add(c, o)\n e = Tanh(d)\n j = Add(s, e)",
            {"half": 0.5, "o": (6,)},
            id="scale, offset, activation",
        ),
    ],
)
def test_ways_to_meet_the_skip(body, weights) -> None:
    model = plain(body, **weights)
    assert [text.split(": ")[1] for text in blocks_of(model)] == ["w1"]
    assert assert_zeroing(model) == 1


@pytest.mark.parametrize(
    ("body", "weights"),
    [
        pytest.param("a = MatMul(s, w1)\n j = MatMul(a, w2)", {}, id="no skip"),
        pytest.param("a = MatMul(s, w1)\n b = MatMul(a, w2)\n j = Add(b, o)", {"o": (6,)}, id="no skip but a bias"),
        pytest.param("a = MatMul(s, w1)\n b = MatMul(a, w2)\n j = Concat<axis=-1>(s, b)", {"wy": (12, 3)}, id="Concat"),
        pytest.param(
            "a = MatMul(s, w1)\n b = MatMul(a, w2)\n c = Softmax(b)\n j = Add(s, c)", {}, id="a softmax in between"
        ),
        pytest.param(
            "a = MatMul(s, w1)\n b = MatMul(a, w2)\n c = Add(s, b)\n d = ReduceMean<keepdims=1>(a, last)\n"
            "j = Add(c, d)",
            {"last": [2]},
            id="something else reads it",
        ),
        pytest.param(
            "z = MatMul(s, w3)\n t = ReduceSum<keepdims=1>(z, axes)\n a = MatMul(s, w1)\n b = MatMul(a, w2)\n"
            "j = Add(t, b)",
            {"w3": (6, 6), "axes": [1]},
            id="a skip that is broadcast",
        ),
    ],
)
def test_what_is_no_block(body, weights) -> None:
    assert blocks_of(plain(body, **weights)) == []


def test_two_branches_of_one_sum() -> None:
    """Each may go, and both, though then the sum is a constant itself."""
    model = plain(
        "a = MatMul(s, w1)\n b = MatMul(a, w2)\n c = MatMul(s, w3)\n d = MatMul(c, w4)\n e = Add(b, d)\n"
        "f = Add(e, o)\n j = Add(s, f)",
        w3=(6, 7),
        w4=(7, 6),
        o=(6,),
    )
    assert blocks_of(model) == ["MatMul_b: w1", "MatMul_d: w3"]
    assert assert_zeroing(model) == 2


def test_two_branches_without_a_skip_can_not_both_go() -> None:
    model = plain(
        "a = MatMul(s, w1)\n b = MatMul(a, w2)\n c = MatMul(s, w3)\n d = MatMul(c, w4)\n j = Add(b, d)",
        w3=(6, 7),
        w4=(7, 6),
    )
    analysis = analysed(model)
    assert blocks_of(model) == ["MatMul_b: w1", "MatMul_d: w3"]
    with pytest.raises(CutError, match="nothing that lives goes on without"):
        without(analysis, list(analysis.blocks))


def test_a_bias_that_is_filled_in() -> None:
    """As PyTorch's exporter writes convolutions without one."""
    filled = (
        "z = Constant<value_float=0.0>()\n f = CastLike(z, r)\n e = Expand(f, six)\n b = Conv<pads=[1,1,1,1]>(r, w2, e)"
    )
    model = build(
        BASIC.replace("b = Conv<pads=[1,1,1,1]>(r, w2, b2)", filled),
        **{n: w for n, w in BASIC_WEIGHTS.items() if n != "b2"},
        six=[6],
    )
    assert blocks_of(model) == ["Conv_b: w1"]
    assert assert_zeroing(model) == 1


def test_half_precision_and_opset_13() -> None:
    body = "a = MatMul(s, w1)\n b = MatMul(a, w2)\n c = Add(b, o)\n d = Add(s, c)\n j = Relu(d)"
    text = PLAIN.format(body).replace("float[", "float16[")
    weights = {n: np.random.default_rng(1).standard_normal(s).astype(np.float16) for n, s in PLAIN_WEIGHTS.items()}
    model = build(text, opset=13, **weights, o=np.arange(6).astype(np.float16))
    assert assert_zeroing(model, 2e-2) == 1


def test_weights_listed_as_inputs() -> None:
    model = with_initializer_inputs(build(BASIC, **BASIC_WEIGHTS))
    assert assert_zeroing(model) == 1


def test_weights_in_constant_nodes() -> None:
    model = as_constant_nodes(build(BASIC, **BASIC_WEIGHTS))
    assert assert_zeroing(model) == 1
    left = without(analysed(model), list(analysed(model).blocks)).model.graph.node
    assert not {"w1", "b1", "w2"} & {o for n in left for o in n.output}


def test_what_is_left() -> None:
    """The sum with the bias of the branch, and nothing of the branch."""
    analysis = analysed(build(BASIC, **BASIC_WEIGHTS))
    work = without(analysis, list(analysis.blocks))
    assert [n.op_type for n in work.model.graph.node] == ["Conv", "Add", "Relu", "Conv"]
    held = work.held["j"]
    values = {t.name: numpy_helper.to_array(t) for t in work.model.graph.initializer}
    assert set(values) == {"ws", "bs", "wy", held}
    assert np.array_equal(values[held].reshape(-1), analysis.graph.array("b2"))
    assert values[held].shape == (1, 6, 1, 1)


def test_outputs_of_a_branch_keep_it() -> None:
    text = BASIC.replace("=> (y)", "=> (y, r)")
    assert blocks_of(build(text, **BASIC_WEIGHTS)) == []
