"""Shapes that the graph computes: constants inside are rewritten, what depends on the input stays computed."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from spa_cli.channels.selection import Selection
from spa_cli.operators.rewrite import cut
from tests.builders import analysed, case
from tests.equivalence import assert_groups

CASES = [
    case(
        "Shape, Gather, Concat, Reshape with a constant width",
        """(float[N,3,T] x) => (y) {
          a = Conv(x, wa)
          s = Shape(a)
          n = Gather(s, i0)
          t = Gather(s, i2)
          z = Concat<axis=0>(n, width, t, one)
          r = Reshape(a, z)
          b = Squeeze(r, i3)
          y = Conv(b, wy)
        }""",
        ["6: wa:0 wy:1"],
        wa=(6, 3, 1),
        i0=[0],
        i2=[2],
        i3=[3],
        one=[1],
        width=[6],
        wy=(4, 6, 1),
    ),
    case(
        "width read from the shape and doubled",
        """(float[N,3,T] x) => (y) {
          a = Conv(x, wa)
          s = Shape(a)
          n = Gather(s, i0)
          c = Gather(s, i1)
          d = Mul(c, two)
          z = Concat<axis=0>(n, d, minus)
          u = Concat<axis=1>(a, a)
          r = Reshape(u, z)
          y = Conv(r, wy)
        }""",
        ["6: wa:0 wy:1*2"],
        wa=(6, 3, 1),
        i0=[0],
        i1=[1],
        two=[2],
        minus=[-1],
        wy=(4, 12, 1),
    ),
    case(
        "heads and head size in a computed shape",
        """(float[N,T,5] x) => (y) {
          a = MatMul(x, wa)
          s = Shape(x)
          n = Gather(s, i0)
          t = Gather(s, i1)
          n1 = Unsqueeze(n, axis)
          t1 = Unsqueeze(t, axis)
          z = Concat<axis=0>(n1, t1, heads, dim)
          r = Reshape(a, z)
          p = Transpose<perm=[0,2,1,3]>(r)
          q = Relu(p)
          o = Transpose<perm=[0,2,1,3]>(q)
          z2 = Concat<axis=0>(n1, t1, width)
          f = Reshape(o, z2)
          y = MatMul(f, wy)
        }""",
        ["2: wa:1*4 wy:0*4", "2x4: wa:1*2 wy:0*2"],
        wa=(5, 8),
        i0=0,
        i1=1,
        axis=[0],
        heads=[2],
        dim=[4],
        width=[8],
        wy=(8, 4),
    ),
    case(
        "one shape constant for two Reshapes of different layers",
        """(float[N,3,4] x) => (y) {
          a = Conv(x, wa)
          b = Conv(x, wb)
          f = Reshape(a, flat)
          g = Reshape(b, flat)
          c = Gemm(f, wc)
          d = Gemm(g, wd)
          y = Add(c, d)
        }""",
        ["6: wa:0 wc:0*4", "6: wb:0 wd:0*4"],
        wa=(6, 3, 1),
        wb=(6, 3, 1),
        flat=[-1, 24],
        wc=(24, 4),
        wd=(24, 4),
    ),
    case(
        "Reshape with 0 entries over a cut axis",
        """(float[N,3,4] x) => (y) {
          a = Conv(x, wa)
          r = Reshape(a, zeros)
          t = Relu(r)
          q = Reshape(t, back)
          y = Conv(q, wy)
        }""",
        ["6: wa:0 wy:1"],
        wa=(6, 3, 1),
        zeros=[0, 0, 2, 2],
        back=[0, 0, -1],
        wy=(4, 6, 1),
    ),
    case(
        "-1 over the channels",
        """(float[N,3,4] x) => (y) {
          a = Conv(x, wa)
          r = Reshape(a, shape)
          y = Conv(r, wy)
        }""",
        ["6: wa:0 wy:1"],
        wa=(6, 3, 1),
        shape=[0, -1, 4],
        wy=(4, 6, 1),
    ),
    case(
        "opset 7",
        """(float[2,3,4] x) => (y) {
          a = Conv(x, wa)
          r = Relu(a)
          f = Flatten(r)
          y = Gemm(f, wy, by)
        }""",
        ["6: wa:0 wy:0*4"],
        opset=7,
        wa=(6, 3, 1),
        wy=(24, 4),
        by=(4,),
    ),
    case(
        "ConstantOfShape of a computed size joins channels",
        """(float[N,3,4] x) => (y) {
          a = Conv(x, wa)
          s = Shape(a)
          z = ConstantOfShape(s)
          c = Concat<axis=1>(a, z)
          y = Conv(c, wy)
        }""",
        ["6: wa:0 wy:1", "6: wy:1"],
        wa=(6, 3, 1),
        wy=(4, 12, 1),
    ),
    case(
        "Expand to the shape of another tensor",
        """(float[N,3,4] x) => (y) {
          a = Conv(x, wa)
          s = Shape(a)
          e = Expand(bias, s)
          t = Add(a, e)
          y = Conv(t, wy)
        }""",
        ["6: bias:1 wa:0 wy:1"],
        wa=(6, 3, 1),
        bias=(1, 6, 1),
        wy=(4, 6, 1),
    ),
    case(
        "Expand as torch writes it: -1 replaced by Equal and Where",
        """(float[N,3,4] x) => (y) {
          a = Conv(x, wa)
          s = Shape(a)
          n = Gather(s, i0)
          wanted = Concat<axis=0>(n, width, minus)
          size = Shape(wanted)
          ones = ConstantOfShape<value = int64[1] {1}>(size)
          m = Mul(ones, minus)
          q = Equal(wanted, m)
          z = Where(q, ones, wanted)
          e = Expand(bias, z)
          t = Add(a, e)
          y = Conv(t, wy)
        }""",
        ["6: bias:1 wa:0 wy:1"],
        wa=(6, 3, 1),
        i0=[0],
        width=[6],
        minus=[-1],
        bias=(1, 6, 1),
        wy=(4, 6, 1),
    ),
    case(
        "Range as positions",
        """(float[N,T,5] x) => (y) {
          a = MatMul(x, wa)
          s = Shape(x)
          t = Gather(s, i1)
          r = Range(i0, t, i1)
          p = Gather(table, r)
          q = Add(a, p)
          y = MatMul(q, wy)
        }""",
        ["6: table:1 wa:1 wy:0"],
        {"table:0": "is looked up by data-dependent indices"},
        wa=(5, 6),
        i0=0,
        i1=1,
        table=(20, 6),
        wy=(6, 4),
    ),
]


@pytest.mark.parametrize(("model", "expected", "reasons"), CASES)
def test_computed_shapes(model, expected, reasons) -> None:
    assert_groups(model, expected, reasons)


def cut_half(model) -> onnx.ModelProto:
    """The model without every second channel of its first group."""
    found = analysed(model)
    selection = Selection(found.grouping)
    group = found.grouping.groups[0]
    mask = [i % 2 == 0 for i in range(group.channels)]
    selection.keep(0, np.array(mask))
    return cut(found.graph, found.state, found.grouping, selection, {}).model


def test_a_constant_width_is_changed_in_place_and_the_batch_stays_computed() -> None:
    model = CASES[0].values[0]
    small = cut_half(model)
    width = next(numpy_helper.to_array(t) for t in small.graph.initializer if t.name == "width")
    assert width.tolist() == [3]
    assert [n.op_type for n in small.graph.node] == [n.op_type for n in model.graph.node]
    assert onnx.checker.check_model(small, full_check=True) is None


def test_a_reshape_that_already_follows_is_left_alone() -> None:
    model = CASES[5].values[0]
    small = cut_half(model)
    shape = next(numpy_helper.to_array(t) for t in small.graph.initializer if t.name == "shape")
    assert shape.tolist() == [0, -1, 4]
