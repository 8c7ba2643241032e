"""Operators that move data: Concat, Split, Reshape, Transpose and their compositions in real networks."""

import numpy as np
import pytest

import spa_cli
from tests.builders import build, case
from tests.equivalence import assert_groups, run

CASES = [
    case(
        "dense block: nested Concat",
        """(float[N,3,4,4] x) => (y) {
          a = Conv(x, wa)
          b = Conv(a, wb)
          c = Concat<axis=1>(a, b)
          d = Conv(c, wd)
          e = Concat<axis=1>(c, d)
          n = BatchNormalization(e, s, o, m, v)
          y = Conv(n, wy)
        }""",
        [
            "4: m:0 o:0 s:0 v:0 wa:0 wb:1 wd:1 wy:1",
            "3: m:0 o:0 s:0 v:0 wb:0 wd:1 wy:1",
            "2: m:0 o:0 s:0 v:0 wd:0 wy:1",
        ],
        wa=(4, 3, 1, 1),
        wb=(3, 4, 1, 1),
        wd=(2, 7, 1, 1),
        s=(9,),
        o=(9,),
        m=(9,),
        v=1.0 + np.arange(9, dtype=np.float32) / 8,
        wy=(4, 9, 1, 1),
    ),
    case(
        "C2f: Split, bottleneck with residual, Concat",
        """(float[N,3,4,4] x) => (y) {
          a = Conv(x, wa)
          p, q = Split<axis=1>(a, sizes)
          b = Conv(q, wb)
          c = Conv(b, wc)
          d = Add(q, c)
          e = Concat<axis=1>(p, q, d)
          y = Conv(e, wy)
        }""",
        ["4: wa:0 wy:1", "4: wa:0 wb:1 wc:0 wy:1*2", "3: wb:0 wc:1"],
        wa=(8, 3, 1, 1),
        sizes=[4, 4],
        wb=(3, 4, 1, 1),
        wc=(4, 3, 1, 1),
        wy=(4, 12, 1, 1),
    ),
    case(
        "CSP: two Slices of one convolution",
        """(float[N,3,4,4] x) => (y) {
          a = Conv(x, wa)
          p = Slice(a, zero, three, one)
          q = Slice(a, three, end, one)
          b = Conv(q, wb)
          e = Concat<axis=1>(b, p)
          y = Conv(e, wy)
        }""",
        ["3: wa:0 wy:1", "5: wa:0 wb:1", "2: wb:0 wy:1"],
        wa=(8, 3, 1, 1),
        zero=[0],
        three=[3],
        end=[9223372036854775807],
        one=[1],
        wb=(2, 5, 1, 1),
        wy=(4, 5, 1, 1),
    ),
    case(
        "U-Net: skip joined after upsampling",
        """(float[N,3,8,8] x) => (y) {
          a = Conv<pads=[1,1,1,1]>(x, wa, ba)
          p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(a)
          b = Conv(p, wb)
          u = ConvTranspose<strides=[2,2]>(b, wu)
          c = Concat<axis=1>(a, u)
          y = Conv(c, wy)
        }""",
        ["4: ba:0 wa:0 wb:1 wy:1", "6: wb:0 wu:0", "5: wu:1 wy:1"],
        wa=(4, 3, 3, 3),
        ba=(4,),
        wb=(6, 4, 1, 1),
        wu=(6, 5, 2, 2),
        wy=(4, 9, 1, 1),
    ),
    case(
        "channel shuffle with a size the graph computes: any channel may go",
        """(float[N,3,4,4] x) => (y) {
          a = Conv(x, wa)
          s = Shape(a)
          n = Gather(s, zero)
          z = Concat<axis=0>(n, two, three, space)
          r = Reshape(a, z)
          t = Transpose<perm=[0,2,1,3,4]>(r)
          z2 = Concat<axis=0>(n, six, space)
          f = Reshape(t, z2)
          y = Conv(f, wy)
        }""",
        ["6: wa:0 wy:1"],
        wa=(6, 3, 1, 1),
        zero=[0],
        two=[2],
        three=[3],
        six=[6],
        space=[4, 4],
        wy=(4, 6, 1, 1),
    ),
    case(
        "channel shuffle between grouped convolutions",
        """(float[N,3,4,4] x) => (y) {
          a = Conv(x, wa)
          g = Conv<group=2>(a, wg)
          r = Reshape(g, apart)
          t = Transpose<perm=[0,2,1,3,4]>(r)
          s = Reshape(t, together)
          d = Conv<group=8>(s, wd)
          y = Conv(d, wy)
        }""",
        ["2: wa:0*4 wd:0*4 wg:0*4 wy:1*4", "2x4: wa:0*2 wg:1", "4: wd:0*2 wg:0*2 wy:1*2"],
        wa=(8, 3, 1, 1),
        wg=(8, 4, 1, 1),
        apart=[-1, 2, 4, 4, 4],
        together=[-1, 8, 4, 4],
        wd=(8, 1, 1, 1),
        wy=(4, 8, 1, 1),
    ),
    case(
        "ShuffleNetV2 unit: split, branch, Concat, shuffle, next unit",
        """(float[N,3,4,4] x) => (y) {
          a = Conv(x, wa)
          p, q = Split<axis=1>(a, halves)
          b = Conv(q, wb)
          c = Concat<axis=1>(p, b)
          r = Reshape(c, apart)
          t = Transpose<perm=[0,2,1,3,4]>(r)
          s = Reshape(t, together)
          u, v = Split<axis=1>(s, halves)
          d = Conv(v, wd)
          e = Concat<axis=1>(u, d)
          y = Conv(e, wy)
        }""",
        [
            "4: wa:0 wb:1",
            "2: wa:0 wd:1",
            "2: wb:0 wd:1",
            "2: wa:0 wy:1",
            "2: wb:0 wy:1",
            "4: wd:0 wy:1",
        ],
        wa=(8, 3, 1, 1),
        halves=[4, 4],
        wb=(4, 4, 1, 1),
        apart=[-1, 2, 4, 4, 4],
        together=[-1, 8, 4, 4],
        wd=(4, 4, 1, 1),
        wy=(4, 8, 1, 1),
    ),
    case(
        "Tile and Expand over space, Unsqueeze",
        """(float[N,3,4,4] x) => (y) {
          a = Conv(x, wa)
          g = GlobalAveragePool(a)
          e = Expand(g, shape)
          t = Tile(g, repeats)
          c = Concat<axis=1>(e, t, a)
          y = Conv(c, wy)
        }""",
        ["5: wa:0 wy:1*3"],
        wa=(5, 3, 1, 1),
        shape=[1, 5, 4, 4],
        repeats=[1, 1, 4, 4],
        wy=(4, 15, 1, 1),
    ),
    case(
        "Tile of channels",
        """(float[N,3,4,4] x) => (y) {
          a = Conv(x, wa)
          t = Tile(a, repeats)
          y = Conv(t, wy)
        }""",
        ["5: wa:0 wy:1*2"],
        wa=(5, 3, 1, 1),
        repeats=[1, 2, 1, 1],
        wy=(4, 10, 1, 1),
    ),
    case(
        "equal Split without sizes becomes explicit",
        """(float[N,3,4,4] x) => (y) {
          a = Conv(x, wa)
          p, q, r = Split<axis=1, num_outputs=3>(a)
          s = Mul(p, q)
          b = Conv(r, wb)
          c = Concat<axis=1>(s, b)
          y = Conv(c, wy)
        }""",
        ["3: wa:0*2 wy:1", "3: wa:0 wb:1", "2: wb:0 wy:1"],
        wa=(9, 3, 1, 1),
        wb=(2, 3, 1, 1),
        wy=(4, 5, 1, 1),
    ),
    case(
        "Split by an attribute, opset 11",
        """(float[N,3,4,4] x) => (y) {
          a = Conv(x, wa)
          p, q = Split<axis=1, split=[3,5]>(a)
          b = Conv(q, wb)
          c = Concat<axis=1>(p, b)
          y = Conv(c, wy)
        }""",
        ["3: wa:0 wy:1", "5: wa:0 wb:1", "2: wb:0 wy:1"],
        opset=11,
        wa=(8, 3, 1, 1),
        wb=(2, 5, 1, 1),
        wy=(4, 5, 1, 1),
    ),
    case(
        "equal Split, opset 11",
        """(float[N,3,4,4] x) => (y) {
          a = Conv(x, wa)
          p, q = Split<axis=1>(a)
          b = Conv(q, wb)
          c = Concat<axis=1>(p, b)
          y = Conv(c, wy)
        }""",
        ["4: wa:0 wy:1", "4: wa:0 wb:1", "2: wb:0 wy:1"],
        opset=11,
        wa=(8, 3, 1, 1),
        wb=(2, 4, 1, 1),
        wy=(4, 6, 1, 1),
    ),
]


@pytest.mark.parametrize(("model", "expected", "reasons"), CASES)
def test_movement(model, expected, reasons) -> None:
    assert_groups(model, expected, reasons)


def test_tokens_that_are_interleaved_are_no_channel_shuffle() -> None:
    """Reshape, Transpose, Reshape of a free axis: it has no channels, and its length is not to be written down."""
    model = build(
        """(float[1,T,5] x) => (y) {
          a = MatMul(x, wa)
          r = Reshape(a, apart)
          t = Transpose<perm=[0,2,1,3]>(r)
          b = Reshape(t, together)
          y = MatMul(b, wy)
        }""",
        wa=(5, 6),
        apart=[1, 4, -1, 6],
        together=[1, -1, 6],
        wy=(6, 4),
    )
    result = spa_cli.prune(model, ratio=0.34, method="l1")
    for length in (8, 32):
        (y,) = run(result.model, {"x": np.ones((1, length, 5), np.float32)})
        assert y.shape == (1, length, 4)
