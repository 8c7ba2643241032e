"""LSTM, GRU and RNN: hidden units are channels in every gate."""

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from spa_cli.channels.groups import build_groups
from spa_cli.channels.selection import Selection
from spa_cli.graph.shapes import interpret
from spa_cli.graph.view import build as view
from spa_cli.operators.analyse import analyse
from spa_cli.operators.rewrite import cut
from spa_cli.plan import from_cut
from tests.builders import build, case, inexact
from tests.equivalence import assert_groups, zeroed

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def recurrent(op, h=4, inputs=5, directions=1) -> dict[str, tuple[int, ...]]:
    """W, R and B of one layer."""
    g = GATES[op]
    return {"W": (directions, g * h, inputs), "R": (directions, g * h, h), "B": (directions, 2 * g * h)}


def layer(name, weights) -> dict[str, tuple[int, ...]]:
    return {f"{k}{name}": v for k, v in weights.items()}


CASES = [
    *(
        case(
            f"{op}, one direction",
            f"""(float[T,N,5] x) => (y) {{
              h, last = {op}<hidden_size=4{more}>(x, W, R, B)
              s = Squeeze(h, one)
              y = MatMul(s, wy)
            }}""",
            [f"4: B:1*{2 * GATES[op]} R:1{times} R:2 W:1{times} wy:0"],
            one=[1],
            wy=(4, 3),
            **recurrent(op),
        )
        for op, more, times in [
            ("LSTM", "", "*4"),
            ("GRU", "", "*3"),
            ("GRU", ", linear_before_reset=1", "*3"),
            ("RNN", "", ""),
        ]
    ),
    *(
        case(
            f"{op}, last state, no bias",
            f"""(float[T,N,5] x) => (y) {{
              , last = {op}<hidden_size=4>(x, W, R)
              s = Squeeze(last, zero)
              y = Gemm(s, wy)
            }}""",
            [f"4: R:1{times} R:2 W:1{times} wy:0"],
            zero=[0],
            wy=(4, 3),
            **{k: v for k, v in recurrent(op).items() if k != "B"},
        )
        for op, times in [("LSTM", "*4"), ("GRU", "*3"), ("RNN", "")]
    ),
    *(
        case(
            f"{op}, both directions, as torch writes it",
            f"""(float[T,N,5] x) => (y) {{
              h = {op}<hidden_size=4, direction="bidirectional">(x, W, R, B)
              t = Transpose<perm=[0,2,1,3]>(h)
              s = Reshape(t, shape)
              y = MatMul(s, wy)
            }}""",
            [f"4: B:1*{2 * GATES[op]} R:1{times} R:2 W:1{times} wy:0*2"],
            shape=[0, 0, -1],
            wy=(8, 3),
            **recurrent(op, directions=2),
        )
        for op, times in [("LSTM", "*4"), ("GRU", "*3"), ("RNN", "")]
    ),
    case(
        "stacked LSTM behind a convolution, sequence last",
        """(float[N,3,T] x) => (y) {
          c = Conv(x, wc)
          t = Transpose<perm=[2,0,1]>(c)
          h = LSTM<hidden_size=4>(t, Wa, Ra, Ba)
          s = Squeeze(h, one)
          k = LSTM<hidden_size=3, direction="reverse">(s, Wb, Rb, Bb)
          u = Squeeze(k, one)
          y = MatMul(u, wy)
        }""",
        [
            "5: Wa:2 wc:0",
            "4: Ba:1*8 Ra:1*4 Ra:2 Wa:1*4 Wb:2",
            "3: Bb:1*8 Rb:1*4 Rb:2 Wb:1*4 wy:0",
        ],
        wc=(5, 3, 1),
        one=[1],
        wy=(3, 4),
        **layer("a", recurrent("LSTM")),
        **layer("b", recurrent("LSTM", 3, 4)),
    ),
    case(
        "initial states of zeros, peepholes",
        """(float[T,N,5] x) => (y) {
          s = Shape(x)
          n = Gather(s, one)
          z = Concat<axis=0>(one, n, four)
          h0 = ConstantOfShape(z)
          h = LSTM<hidden_size=4>(x, W, R, B, , h0, h0, P)
          q = Squeeze(h, one)
          y = MatMul(q, wy)
        }""",
        ["4: B:1*8 P:1*3 R:1*4 R:2 W:1*4 wy:0"],
        one=[1],
        four=[4],
        P=(1, 12),
        wy=(4, 3),
        **recurrent("LSTM"),
    ),
    *(
        case(
            f"three layers of {op} share zeros and stack their last states, as torch writes them",
            f"""(float[T,N,5] x) => (y) {{
              s = Shape(x)
              n = Gather(s, one)
              z = Concat<axis=0>(three, n, four)
              h0 = ConstantOfShape(z)
              ha = Slice(h0, zero, one, zero)
              a, ta = {op}<hidden_size=4>(x, Wa, Ra, Ba, , ha)
              sa = Squeeze(a, one)
              hb = Slice(h0, one, two, zero)
              b, tb = {op}<hidden_size=4>(sa, Wb, Rb, Bb, , hb)
              sb = Squeeze(b, one)
              hc = Slice(h0, two, three, zero)
              c, tc = {op}<hidden_size=4>(sb, Wc, Rc, Bc, , hc)
              t = Concat<axis=0>(ta, tb, tc)
              q = Gather<axis=0>(t, last)
              y = MatMul(q, wy)
            }}""",
            [
                f"4: Ba:1*{2 * GATES[op]} Ra:1{times} Ra:2 Wa:1{times} Wb:2",
                f"4: Bb:1*{2 * GATES[op]} Rb:1{times} Rb:2 Wb:1{times} Wc:2",
                f"4: Bc:1*{2 * GATES[op]} Rc:1{times} Rc:2 Wc:1{times} wy:0",
            ],
            zero=[0],
            one=[1],
            two=[2],
            three=[3],
            four=[4],
            last=np.array(-1),
            wy=(4, 3),
            **layer("a", recurrent(op)),
            **layer("b", recurrent(op, 4, 4)),
            **layer("c", recurrent(op, 4, 4)),
        )
        for op, times in [("LSTM", "*4"), ("GRU", "*3"), ("RNN", "")]
    ),
    case(
        "one initializer of zeros is the state of two layers and of their cells",
        """(float[T,2,5] x) => (y) {
          a = LSTM<hidden_size=4>(x, Wa, Ra, Ba, , h0, h0)
          s = Squeeze(a, one)
          b = LSTM<hidden_size=4>(s, Wb, Rb, Bb, , h0, h0)
          q = Squeeze(b, one)
          y = MatMul(q, wy)
        }""",
        ["4: Ba:1*8 Ra:1*4 Ra:2 Wa:1*4 Wb:2", "4: Bb:1*8 Rb:1*4 Rb:2 Wb:1*4 wy:0"],
        {"h0:2": "is an initial state of zeros"},
        one=[1],
        h0=np.zeros((1, 2, 4), np.float32),
        wy=(4, 3),
        **layer("a", recurrent("LSTM")),
        **layer("b", recurrent("LSTM", 4, 4)),
    ),
    case(
        "a state of zeros that something else reads stays",
        """(float[T,2,5] x) => (y) {
          h, last = GRU<hidden_size=4>(x, W, R, B, , h0)
          q = Squeeze(h, one)
          p = MatMul(q, wy)
          c = ReduceSum<keepdims=0>(h0)
          y = Add(p, c)
        }""",
        ["4: B:1*6 R:1*3 R:2 W:1*3 wy:0"],
        one=[1],
        h0=np.zeros((1, 2, 4), np.float32),
        wy=(4, 3),
        **recurrent("GRU"),
    ),
    case(
        "bidirectional layers, the last two states concatenated",
        """(float[T,N,5] x) => (y) {
          s = Shape(x)
          n = Gather(s, one)
          z = Concat<axis=0>(four, n, four)
          h0 = ConstantOfShape(z)
          ha = Slice(h0, zero, two, zero)
          a, ta = GRU<hidden_size=4, direction="bidirectional">(x, Wa, Ra, Ba, , ha)
          pa = Transpose<perm=[0,2,1,3]>(a)
          sa = Reshape(pa, shape)
          hb = Slice(h0, two, four, zero)
          b, tb = GRU<hidden_size=4, direction="bidirectional">(sa, Wb, Rb, Bb, , hb)
          t = Concat<axis=0>(ta, tb)
          f = Gather<axis=0>(t, before)
          g = Gather<axis=0>(t, last)
          q = Concat<axis=1>(f, g)
          y = MatMul(q, wy)
        }""",
        ["4: Ba:1*6 Ra:1*3 Ra:2 Wa:1*3 Wb:2*2", "4: Bb:1*6 Rb:1*3 Rb:2 Wb:1*3 wy:0*2"],
        zero=[0],
        one=[1],
        two=[2],
        four=[4],
        shape=[0, 0, -1],
        before=np.array(-2),
        last=np.array(-1),
        wy=(8, 3),
        **layer("a", recurrent("GRU", directions=2)),
        **layer("b", recurrent("GRU", 4, 8, directions=2)),
    ),
    case(
        "learned initial state, expanded over the batch",
        """(float[T,N,5] x) => (y) {
          s = Shape(x)
          n = Gather(s, one)
          z = Concat<axis=0>(one, n, one)
          h0 = Expand(state, z)
          h = GRU<hidden_size=4>(x, W, R, B, , h0)
          q = Squeeze(h, one)
          y = MatMul(q, wy)
        }""",
        ["4: B:1*6 R:1*3 R:2 W:1*3 state:2 wy:0"],
        one=[1],
        state=(1, 1, 4),
        wy=(4, 3),
        **recurrent("GRU"),
    ),
    case(
        "initial state from a layer (captioning)",
        """(float[N,6] image, float[T,N,5] x) => (y) {
          i = Gemm(image, wi, bi)
          h0 = Unsqueeze(i, zero)
          h = GRU<hidden_size=4>(x, W, R, B, , h0)
          q = Squeeze(h, one)
          y = MatMul(q, wy)
        }""",
        ["4: B:1*6 R:1*3 R:2 W:1*3 bi:0 wi:1 wy:0"],
        zero=[0],
        one=[1],
        wi=(6, 4),
        bi=(4,),
        wy=(4, 3),
        **recurrent("GRU"),
    ),
    case(
        "initial state as a graph input keeps every unit",
        """(float[T,N,5] x, float[1,N,4] h0) => (y) {
          h = GRU<hidden_size=4>(x, W, R, B, , h0)
          q = Squeeze(h, one)
          y = MatMul(q, wy)
        }""",
        [],
        {"W:1": "graph input 'h0' keeps its shape", "R:2": "graph input 'h0' keeps its shape"},
        one=[1],
        wy=(4, 3),
        **recurrent("GRU"),
    ),
]


@pytest.mark.parametrize(("model", "expected", "reasons"), CASES)
def test_recurrent(model, expected, reasons) -> None:
    assert_groups(model, expected, reasons)


def test_a_unit_whose_activation_is_not_zero_at_zero_is_approximate() -> None:
    model = build(
        """(float[T,N,5] x) => (y) {
          h = RNN<hidden_size=4, activations=["Sigmoid"]>(x, W, R, B)
          q = Squeeze(h, one)
          y = ReduceSum(q, two)
        }""",
        one=[1],
        two=[2],
        **recurrent("RNN"),
    )
    assert inexact(model) == {"a unit of RNN is not zero when its weights are"}


def test_a_sum_over_units_of_a_tanh_layer_is_exact() -> None:
    model = build(
        """(float[T,N,5] x) => (y) {
          h = RNN<hidden_size=4>(x, W, R, B)
          q = Squeeze(h, one)
          y = ReduceSum(q, two)
        }""",
        one=[1],
        two=[2],
        **recurrent("RNN"),
    )
    assert_groups(model, ["4: B:1*2 R:1 R:2 W:1"])


@pytest.mark.parametrize("op", GATES)
def test_batch_first_layout(op) -> None:
    """onnxruntime has no kernel for it: ONNX's own reference implementation is asked instead."""
    model = build(
        f"""(float[2,3,5] x) => (float[2,3,3] y) {{
          h, last = {op}<hidden_size=4, layout=1>(x, W, R, B)
          q = Squeeze(h, two)
          y = MatMul(q, wy)
        }}""",
        two=[2],
        wy=(4, 3),
        **recurrent(op),
    )
    graph = view(model, "")
    state = analyse(graph, interpret(graph, {"x": (2, 3, 5)}))
    grouping = build_groups(state)
    (group,) = grouping.groups
    assert group.channels == 4
    selection = Selection(grouping)
    selection.keep(0, np.array([True, False, True, False]))
    work = cut(graph, state, grouping, selection, {})
    masked = zeroed(model, from_cut(work, {}).kept)
    x = np.random.default_rng(0).standard_normal((2, 3, 5)).astype(np.float32)
    (left,) = ReferenceEvaluator(masked).run(None, {"x": x})
    (right,) = ReferenceEvaluator(work.model).run(None, {"x": x})
    assert np.allclose(left, right, atol=1e-6)


@pytest.mark.parametrize("per_unit", [False, True], ids=["one scale", "a scale per gate unit"])
def test_dynamically_quantised_lstm(per_unit) -> None:
    rng = np.random.default_rng(0)
    sizes = (1, 16) if per_unit else (1,)
    model = build(
        """(float[3,2,5] x) => (float[3,2,3] y) {
          h = com.microsoft.DynamicQuantizeLSTM<hidden_size=4>(x, W, R, B, , , , , ws, zero, rs, zero)
          s = Squeeze(h, one)
          y = MatMul(s, wy)
        }""",
        domains={"com.microsoft": 1},
        one=[1],
        W=rng.integers(-99, 99, (1, 5, 16)).astype(np.int8),
        R=rng.integers(-99, 99, (1, 4, 16)).astype(np.int8),
        B=(1, 32),
        ws=np.full(sizes, 0.01, np.float32),
        rs=np.full(sizes, 0.01, np.float32),
        zero=np.zeros(sizes, np.int8),
        wy=(4, 3),
    )
    scales = " rs:1*4 ws:1*4 zero:1*4" if per_unit else ""
    assert_groups(model, [f"4: B:1*8 R:1 R:2*4 W:2*4{scales} wy:0"])
