"""Operators of our own against onnxruntime, wherever their attributes take another path."""

import pytest

from tests.extras import needs

needs("torch", "onnx2torch")

import numpy as np

from tests.builders import build
from tests.gradients.networks import close, differentiable, normal

MICROSOFT = {"com.microsoft": 1}


def agrees(text, feeds, **options) -> object:
    """Differentiable compares with onnxruntime by itself; some gradient has to come out, too."""
    found = differentiable(build(text, **options), feeds)
    samples = len(next(iter(feeds.values())))
    gradients = found.gradient([(feeds, None, np.ones(samples))])
    assert any(np.abs(g).max() > 0 for g in gradients.values())
    return gradients


@pytest.mark.parametrize(
    ("node", "w"),
    [
        ('Conv<auto_pad="SAME_UPPER", strides=[2, 2]>(x, w)', (4, 3, 4, 3)),
        ('Conv<auto_pad="SAME_LOWER", strides=[3, 1]>(x, w)', (4, 3, 4, 3)),
        ("Conv<pads=[0, 1, 2, 0], strides=[2, 1]>(x, w)", (4, 3, 3, 2)),
        ("ConvTranspose<strides=[2, 3], output_padding=[1, 0], pads=[1, 0, 0, 2]>(x, w)", (3, 2, 3, 4)),
        ("ConvTranspose<strides=[2, 2], output_shape=[19, 17]>(x, w)", (3, 2, 3, 3)),
        ('ConvTranspose<strides=[2, 2], auto_pad="SAME_UPPER">(x, w)', (3, 2, 3, 3)),
    ],
)
def test_convolutions(node, w) -> None:
    agrees(f"(float[N,3,9,8] x) => (float[N,a,b,c] y) {{ y = {node} }}", {"x": normal(2, 3, 9, 8)}, w=w)


@pytest.mark.parametrize(
    "node",
    [
        "MaxPool<kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 0, 1]>(c)",
        "MaxPool<kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1>(c)",
        "MaxPool<kernel_shape=[2, 2], dilations=[2, 3]>(c)",
        "AveragePool<kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 0, 1]>(c)",
        "AveragePool<kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 0, 1], count_include_pad=1>(c)",
        "AveragePool<kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1>(c)",
        'AveragePool<kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_LOWER">(c)',
        "GlobalMaxPool(c)",
        "LRN<size=3, alpha=0.5>(c)",
        "InstanceNormalization(c, s, s)",
        "GroupNormalization<num_groups=2>(c, h, h)",
        "MeanVarianceNormalization<axes=[0, 2, 3]>(c)",
        "LpNormalization<axis=1, p=1>(c)",
        "DepthToSpace<blocksize=2>(c)",
        'DepthToSpace<blocksize=2, mode="CRD">(c)',
        "SpaceToDepth<blocksize=2>(e)",
        'Pad<mode="reflect">(c, pads)',
        'Pad<mode="edge">(c, pads)',
        "Pad(c, pads, fill)",
        "Pad(c, crop, fill, last)",
        "Slice(c, from, to, both, step)",
        "CumSum<exclusive=1, reverse=1>(c, two)",
        "Trilu<upper=0>(c)",
        "PRelu(c, slope)",
        "ReduceL2<keepdims=0>(c, both)",
        "ReduceLogSumExp(c, both)",
        "ReduceProd(c, both)",
        "ReduceMax(c)",
    ],
)
def test_what_moves_and_pools(node) -> None:
    agrees(
        f"(float[N,3,8,7] x) => (y) {{ c = Conv<pads=[1,1,1,1]>(x, w)\n e = Slice(c, zero, even, last)\n y = {node} }}",
        {"x": normal(2, 3, 8, 7)},
        w=(4, 3, 3, 3),
        s=(4,),
        h=(2,),
        slope=(4, 1, 1),
        pads=[0, 0, 2, 1, 0, 0, 1, 3],
        crop=[-1, 2],
        fill=0.5,
        last=[3],
        zero=[0],
        even=[6],
        both=[2, -1],
        step=[-2, 3],
        two=2,
        **{"from": [-1, 1], "to": [-100, 100]},
    )


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("where", ["half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"])
def test_resizing(mode, where) -> None:
    how = f'mode="{mode}", coordinate_transformation_mode="{where}"'
    agrees(
        f"""(float[N,3,6,5] x) => (y) {{
          c = Conv(x, w)
          l = Resize<{how}>(c, , scales)
          y = Resize<{how}, nearest_mode="floor">(l, , , sizes)
        }}""",
        {"x": normal(2, 3, 6, 5)},
        w=(2, 3, 1, 1),
        scales=np.array([1, 1, 1.5, 2], np.float32),
        sizes=[2, 2, 7, 9],
    )


@pytest.mark.parametrize(
    ("op", "gates", "attributes"),
    [
        ("LSTM", 4, 'direction="reverse"'),
        ("LSTM", 4, 'direction="bidirectional", activations=["HardSigmoid","Relu","Tanh","Sigmoid","Tanh","Softsign"]'),
        ("GRU", 3, "linear_before_reset=1"),
        ("GRU", 3, 'direction="bidirectional"'),
        ("RNN", 1, 'direction="forward"'),
    ],
)
@pytest.mark.parametrize("ragged", [False, True])
def test_recurrent_layers(op, gates, attributes, ragged) -> None:
    both = 2 if "bidirectional" in attributes else 1
    model = build(
        f"""(float[6,N,3] x) => (float[6,D,N,4] y, float[D,N,4] h) {{
          y, h = {op}<hidden_size=4, {attributes}>(x, w, r, b, {"lengths" if ragged else ""}, start)
        }}""",
        w=(both, gates * 4, 3),
        r=(both, gates * 4, 4),
        b=(both, gates * 8),
        start=(both, 2, 4),
        lengths=np.array([4, 6], np.int32),
    )
    found = differentiable(model, {"x": normal(6, 2, 3)})
    gradients = found.gradient([({"x": normal(6, 2, 3)}, None, np.ones(2))])
    assert set(gradients) == {"w", "r", "b", "start"}
    assert all(np.abs(g).max() > 0 for g in gradients.values())


def test_an_lstm_with_peepholes_and_batch_first() -> None:
    agrees(
        """(float[N,6,3] x) => (float[N,6,1,4] y) {
          t = Transpose<perm=[1,0,2]>(x)
          o = LSTM<hidden_size=4>(t, w, r, b, , , , p)
          y = Transpose<perm=[2,0,1,3]>(o)
        }""",
        {"x": normal(2, 6, 3)},
        w=(1, 16, 3),
        r=(1, 16, 4),
        b=(1, 32),
        p=(1, 12),
    )


@pytest.mark.parametrize(
    "node",
    [
        "com.microsoft.Attention<num_heads=2, unidirectional=1>(x, wide, b)",
        "com.microsoft.Attention<num_heads=2>(x, wide, b, mask)",
        "com.microsoft.MultiHeadAttention<num_heads=2>(x, x, v, b)",
        "com.microsoft.SkipLayerNormalization<epsilon=0.001>(x, v, s, s, s)",
        "com.microsoft.SkipSimplifiedLayerNormalization(x, v, s, s)",
        "com.microsoft.BiasGelu(v, s)",
        "com.microsoft.FastGelu(v, s)",
        "com.microsoft.QuickGelu(v)",
        "com.microsoft.FusedMatMul<transB=1, alpha=0.5>(x, v)",
        "SimplifiedLayerNormalization<axis=-1>(v, s)",
    ],
)
def test_fused_operators(node) -> None:
    agrees(
        f"(float[N,5,8] x) => (float[N,a,b] y) {{ v = MatMul(x, w)\n y = {node} }}",
        {"x": normal(2, 5, 8)},
        domains=MICROSOFT,
        w=(8, 8),
        wide=(8, 24),
        b=(24,),
        s=(8,),
        mask=np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.int32),
    )


@pytest.mark.parametrize(
    "node",
    [
        "Attention<is_causal=1>(q, k, v)",
        "Attention<scale=0.3, softcap=2.0>(q, k, v, mask)",
    ],
)
def test_attention_of_opset_23_shares_keys_between_groups_of_queries(node) -> None:
    node = node.replace("<", "<q_num_heads=4, kv_num_heads=2, ")
    agrees(
        f"""(float[N,5,8] x) => (float[N,5,16] y) {{
          q = MatMul(x, wq)
          k = MatMul(x, wk)
          v = MatMul(x, wk)
          y = {node}
        }}""",
        {"x": normal(2, 5, 8)},
        opset=23,
        ir=10,
        wq=(8, 16),
        wk=(8, 8),
        mask=np.tril(np.ones((5, 5), bool)),
    )


def test_rounding_is_passed_straight_through() -> None:
    text = """(float[N,6] x) => (float[N,4] y) {
      a = MatMul(x, w)
      q = QuantizeLinear(a, step, zero)
      d = DequantizeLinear(q, step, zero)
      y = MatMul(d, v)
    }"""
    weights = {"w": (6, 5), "v": (5, 4)}
    x, labels = normal(7, 6), np.arange(7) % 4
    fine = {"step": np.array(0.05, np.float32), "zero": np.array(0, np.int8)}
    found = differentiable(build(text, **weights, **fine), {"x": x}).gradient([({"x": x}, labels, np.ones(7))])
    plain = build("(float[N,6] x) => (float[N,4] y) { a = MatMul(x, w)\n y = MatMul(a, v) }", **weights)
    wanted = differentiable(plain, {"x": x}).gradient([({"x": x}, labels, np.ones(7))])
    close(found["w"], wanted["w"], 0.05)
    assert np.abs(found["w"]).max() > 0


def test_dynamic_quantisation() -> None:
    agrees(
        """(float[N,6] x) => (float[N,4] y) {
          q, s, z = DynamicQuantizeLinear(x)
          i = MatMulInteger(q, w, z, wz)
          f = Cast<to=1>(i)
          k = Mul(s, ws)
          y = Mul(f, k)
        }""",
        {"x": normal(5, 6)},
        w=np.random.default_rng(0).integers(0, 255, (6, 4)).astype(np.uint8),
        wz=np.array(120, np.uint8),
        ws=np.array(0.01, np.float32),
    )


def test_scatter_gather_and_one_hot() -> None:
    agrees(
        """(float[N,5] x) => (float[N,a] y) {
          a = MatMul(x, w)
          g = GatherND<batch_dims=0>(a, at)
          e = GatherElements<axis=1>(a, one)
          s = ScatterElements<axis=1, reduction="add">(a, one, e)
          n = ScatterND(s, at, g)
          h = OneHot(one, depth, values)
          f = Flatten(h)
          y = Concat<axis=1>(n, f)
        }""",
        {"x": normal(2, 5)},
        w=(5, 4),
        at=[[0, 1], [1, -1]],
        one=[[0, -1], [2, 1]],
        depth=4,
        values=np.array([0, 1], np.float32),
    )


def test_a_branch_that_shapes_decide_is_taken() -> None:
    # as torch writes x.squeeze(1) where it doesn't know the size
    text = """(float[N,1,5] x) => (float[N,4] y) {
      shape = Shape(x)
      size = Gather(shape, one)
      alone = Equal(size, one)
      s = If(alone) <
        then_branch = yes () => (float[N,5] t) { t = Squeeze(x, ones) },
        else_branch = no () => (float[N,1,5] e) { e = Identity(x) }
      >
      y = MatMul(s, w)
    }"""
    gradients = agrees(text, {"x": normal(3, 1, 5)}, w=(5, 4), one=1, ones=[1])
    assert set(gradients) == {"w"}


def test_scores_behind_the_class_that_is_named() -> None:
    text = """(float[N,5] x) => (int64[N] y) {
      a = MatMul(x, w)
      y = ArgMax<axis=1, keepdims=0>(a)
    }"""
    found = differentiable(build(text, w=(5, 4)), {"x": normal(3, 5)})
    assert found.outputs == ["a"]
    assert found.names == ("w",)
