"""Convolutions of every kind, and pooling."""

import numpy as np
import pytest

from tests.builders import build, case, groups, positive, roles
from tests.equivalence import assert_groups, assert_removing_is_zeroing

WINDOW = "is the window of a convolution"

CASES = [
    case(
        "chain",
        """(float[N,3,8,8] x) => (y) {
          a = Conv<pads=[1,1,1,1]>(x, w1, b1)
          r = Relu(a)
          y = Conv(r, w2, b2)
        }""",
        ["8: b1:0 w1:0 w2:1"],
        {
            "w1:1": "graph input 'x' keeps its shape",
            "w1:2": WINDOW,
            "w2:0": "graph output 'y' keeps its shape",
            "w2:2": "has a single channel",
            "b2:0": "graph output 'y' keeps its shape",
        },
        w1=(8, 3, 3, 3),
        b1=(8,),
        w2=(5, 8, 1, 1),
        b2=(5,),
    ),
    case(
        "dilated and strided, not square",
        """(float[N,3,12,9] x) => (y) {
          a = Conv<dilations=[2,1], strides=[1,2]>(x, w1)
          r = LeakyRelu(a)
          y = Conv<pads=[1,0,1,0]>(r, w2)
        }""",
        ["6: w1:0 w2:1"],
        w1=(6, 3, 3, 1),
        w2=(4, 6, 3, 2),
    ),
    case(
        "1-D",
        """(float[N,2,10] x) => (y) {
          a = Conv<auto_pad="SAME_UPPER">(x, w1, b1)
          r = Elu(a)
          y = Conv(r, w2)
        }""",
        ["6: b1:0 w1:0 w2:1"],
        w1=(6, 2, 3),
        b1=(6,),
        w2=(4, 6, 2),
    ),
    case(
        "3-D",
        """(float[N,2,4,4,4] x) => (y) {
          a = Conv(x, w1, b1)
          r = Sigmoid(a)
          y = Conv(r, w2)
        }""",
        ["6: b1:0 w1:0 w2:1"],
        w1=(6, 2, 2, 2, 2),
        b1=(6,),
        w2=(4, 6, 1, 1, 1),
    ),
    case(
        "depthwise",
        """(float[N,3,8,8] x) => (y) {
          a = Conv(x, w1, b1)
          d = Conv<group=8, pads=[1,1,1,1]>(a, wd, bd)
          r = Relu(d)
          y = Conv(r, w2)
        }""",
        ["8: b1:0 bd:0 w1:0 w2:1 wd:0"],
        w1=(8, 3, 1, 1),
        b1=(8,),
        wd=(8, 1, 3, 3),
        bd=(8,),
        w2=(4, 8, 1, 1),
    ),
    case(
        "depthwise with a multiplier",
        """(float[N,3,8,8] x) => (y) {
          a = Conv(x, w1, b1)
          d = Conv<group=4, pads=[1,1,1,1]>(a, wd, bd)
          r = Relu(d)
          y = Conv(r, w2)
        }""",
        ["4: b1:0 bd:0*2 w1:0 w2:1*2 wd:0*2", "4x2: bd:0*4 w2:1*4 wd:0*4"],
        w1=(4, 3, 1, 1),
        b1=(4,),
        wd=(8, 1, 3, 3),
        bd=(8,),
        w2=(4, 8, 1, 1),
    ),
    case(
        "grouped",
        """(float[N,3,6,6] x) => (y) {
          a = Conv(x, w1, b1)
          g = Conv<group=2>(a, wg, bg)
          r = Relu(g)
          y = Conv(r, w2)
        }""",
        [
            "2: b1:0*4 bg:0*3 w1:0*4 w2:1*3 wg:0*3",
            "2x4: b1:0*2 w1:0*2 wg:1",
            "2x3: bg:0*2 w2:1*2 wg:0*2",
        ],
        w1=(8, 3, 1, 1),
        b1=(8,),
        wg=(6, 4, 3, 3),
        bg=(6,),
        w2=(4, 6, 1, 1),
    ),
    case(
        "grouped twice, same groups",
        """(float[N,3,6,6] x) => (y) {
          a = Conv(x, w1)
          g = Conv<group=2>(a, wg)
          h = Conv<group=2>(g, wh)
          y = Conv(h, w2)
        }""",
        ["2: w1:0*4 w2:1*3 wg:0*4 wh:0*3", "2x4: w1:0*2 wg:1", "2x4: wg:0*2 wh:1", "2x3: w2:1*2 wh:0*2"],
        w1=(8, 3, 1, 1),
        wg=(8, 4, 1, 1),
        wh=(6, 4, 1, 1),
        w2=(4, 6, 1, 1),
    ),
    case(
        "one output, not depthwise",
        """(float[N,4,6,6] x) => (y) {
          a = Conv(x, w1, b1)
          s = Conv(a, wm, bm)
          g = Sigmoid(s)
          m = Mul(a, g)
          y = Conv(m, w2)
        }""",
        ["8: b1:0 w1:0 w2:1 wm:1"],
        {"wm:0": "has a single channel", "bm:0": "has a single channel"},
        w1=(8, 4, 1, 1),
        b1=(8,),
        wm=(1, 8, 1, 1),
        bm=(1,),
        w2=(4, 8, 1, 1),
    ),
    case(
        "transposed",
        """(float[N,4,5,5] x) => (y) {
          a = Conv(x, w1, b1)
          t = ConvTranspose<strides=[2,2]>(a, wt, bt)
          r = Relu(t)
          y = Conv(r, w2)
        }""",
        ["8: b1:0 w1:0 wt:0", "6: bt:0 w2:1 wt:1"],
        w1=(8, 4, 1, 1),
        b1=(8,),
        wt=(8, 6, 2, 2),
        bt=(6,),
        w2=(4, 6, 1, 1),
    ),
    case(
        "transposed, grouped",
        """(float[N,4,5,5] x) => (y) {
          a = Conv(x, w1, b1)
          t = ConvTranspose<group=2, strides=[2,2]>(a, wt, bt)
          r = Relu(t)
          y = Conv(r, w2)
        }""",
        ["2: b1:0*4 bt:0*3 w1:0*4 w2:1*3 wt:0*4", "2x4: b1:0*2 w1:0*2 wt:0*2", "3: bt:0*2 w2:1*2 wt:1"],
        w1=(8, 4, 1, 1),
        b1=(8,),
        wt=(8, 3, 2, 2),
        bt=(6,),
        w2=(4, 6, 1, 1),
    ),
    case(
        "transposed, depthwise",
        """(float[N,4,5,5] x) => (y) {
          a = Conv(x, w1, b1)
          t = ConvTranspose<group=6, strides=[2,2]>(a, wt, bt)
          y = Conv(t, w2)
        }""",
        ["6: b1:0 bt:0 w1:0 w2:1 wt:0"],
        w1=(6, 4, 1, 1),
        b1=(6,),
        wt=(6, 1, 2, 2),
        bt=(6,),
        w2=(4, 6, 1, 1),
    ),
    case(
        "batch norm left unfolded",
        """(float[N,3,6,6] x) => (y) {
          a = Conv(x, w1)
          n = BatchNormalization(a, s, b, m, v)
          r = Relu(n)
          y = Conv(r, w2)
        }""",
        ["8: b:0 m:0 s:0 v:0 w1:0 w2:1"],
        w1=(8, 3, 3, 3),
        s=positive(8),
        b=(8,),
        m=(8,),
        v=positive(8),
        w2=(4, 8, 1, 1),
    ),
    case(
        "fused convolution",
        """(float[N,3,6,6] x) => (float[N,4,4,4] y) {
          a = com.microsoft.FusedConv<activation="Relu">(x, w1, b1)
          y = Conv(a, w2)
        }""",
        ["8: b1:0 w1:0 w2:1"],
        domains={"com.microsoft": 1},
        w1=(8, 3, 3, 3),
        b1=(8,),
        w2=(4, 8, 1, 1),
    ),
    *(
        case(
            name,
            f"""(float[N,3,8,8] x) => (y) {{
              a = Conv(x, w1, b1)
              p = {op}(a)
              y = Conv(p, w2)
            }}""",
            ["8: b1:0 w1:0 w2:1"],
            w1=(8, 3, 1, 1),
            b1=(8,),
            w2=(4, 8, 1, 1),
        )
        for name, op in [
            ("max pool", "MaxPool<kernel_shape=[2,2], strides=[2,2]>"),
            ("average pool with padding", "AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1>"),
            ("global average pool", "GlobalAveragePool"),
            ("global max pool", "GlobalMaxPool"),
            ("lp pool", "LpPool<kernel_shape=[2,2]>"),
        ]
    ),
]


@pytest.mark.parametrize(("model", "expected", "reasons"), CASES)
def test_convolution(model, expected, reasons) -> None:
    assert_groups(model, expected, reasons)


RESIZES = {
    "scales": ('u = Resize<mode="nearest">(a, , size)', np.array([1, 1, 2, 2], np.float32)),
    "sizes": ('u = Resize<mode="linear">(a, , , size)', np.array([1, 8, 9, 7])),
    "sizes of some axes": ('u = Resize<mode="linear", axes=[2,3]>(a, , , size)', np.array([9, 7])),
    "computed sizes": (
        """s = Shape<start=0, end=2>(a)
           z = Concat<axis=0>(s, size)
           u = Resize<mode="linear">(a, , , z)""",
        np.array([7, 6]),
    ),
}


@pytest.mark.parametrize(("nodes", "size"), RESIZES.values(), ids=RESIZES)
def test_resize(nodes, size) -> None:
    text = f"""(float[1,3,4,4] x) => (y) {{
      a = Conv(x, w1)
      {nodes}
      y = Conv(u, w2)
    }}"""
    assert_groups(build(text, w1=(8, 3, 1, 1), w2=(4, 8, 1, 1), size=size), ["8: w1:0 w2:1"])


def test_roles_of_a_chain() -> None:
    model = CASES[0].values[0]
    assert roles(model) == {"w1:0": "producer", "b1:0": "pass-through", "w2:1": "consumer"}


def test_first_layer_grouped_over_the_input_keeps_its_groups() -> None:
    model = build(
        """(float[N,6,6,6] x) => (y) {
          a = Conv<group=2>(x, w1)
          y = Conv(a, w2)
        }""",
        w1=(8, 3, 1, 1),
        w2=(4, 8, 1, 1),
    )
    assert_groups(model, ["2x4: w1:0*2 w2:1*2"])


@pytest.mark.parametrize(
    ("op", "mark"),
    [("GlobalAveragePool", "~"), ("GlobalMaxPool", "~"), ("GlobalLpPool", "")],
    ids=["mean", "max", "norm"],
)
def test_global_pooling_over_channels_as_tf2onnx_writes_a_mean(op, mark) -> None:
    model = build(
        f"""(float[N,3,5] x) => (y) {{
          h = MatMul(x, wa)
          m = {op}(h)
          d = Sub(h, m)
          y = MatMul(d, wy)
        }}""",
        wa=(5, 8),
        wy=(8, 4),
    )
    assert groups(model) == [f"8{mark}: wa:1 wy:0"]
    assert assert_removing_is_zeroing(model) > 0
