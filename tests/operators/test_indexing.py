"""Reading and writing at positions that data decides: those axes stay, features pass."""

import numpy as np
import pytest

from tests.builders import case
from tests.equivalence import assert_groups

ADDRESSED = "is addressed by data-dependent indices"

CASES = [
    case(
        "message passing: Gather of nodes, ScatterND of sums",
        """(float[4,5] x, int64[E] source, int64[E,1] target) => (y) {
          h = MatMul(x, wh)
          g = Gather(h, source)
          r = Relu(g)
          z = Mul(h, zero)
          s = ScatterND<reduction="add">(z, target, r)
          t = Add(h, s)
          y = MatMul(t, wy)
        }""",
        ["6: wh:1 wy:0"],
        {"wh:0": "graph input 'x' keeps its shape"},
        wh=(5, 6),
        zero=0.0,
        wy=(6, 4),
    ),
    case(
        "ScatterElements over nodes, features aligned by Expand",
        """(float[4,5] x, int64[4] target) => (y) {
          h = MatMul(x, wh)
          u = Unsqueeze(target, one)
          s = Shape(h)
          i = Expand(u, s)
          z = ConstantOfShape(s)
          a = ScatterElements<axis=0, reduction="add">(z, i, h)
          y = MatMul(a, wy)
        }""",
        ["6: wh:1 wy:0"],
        wh=(5, 6),
        one=[1],
        wy=(6, 4),
    ),
    case(
        "GatherElements along the channels freezes them",
        """(float[N,5] x, int64[N,6] order) => (y) {
          h = MatMul(x, wh)
          g = GatherElements<axis=1>(h, order)
          y = MatMul(g, wy)
        }""",
        [],
        {"wh:1": ADDRESSED},
        wh=(5, 6),
        wy=(6, 4),
    ),
    case(
        "GatherND of rows",
        """(float[4,5] x, int64[E,1] rows) => (y) {
          h = MatMul(x, wh)
          g = GatherND(h, rows)
          y = MatMul(g, wy)
        }""",
        ["6: wh:1 wy:0"],
        wh=(5, 6),
        wy=(6, 4),
    ),
    case(
        "one-hot classes stay",
        """(int64[N] ids) => (y) {
          h = OneHot(ids, depth, values)
          f = MatMul(h, wh)
          y = MatMul(f, wy)
        }""",
        ["6: wh:1 wy:0"],
        {"wh:0": "OneHot counts classes along it"},
        depth=[5],
        values=np.array([0, 1], np.float32),
        wh=(5, 6),
        wy=(6, 4),
    ),
    case(
        "looking up channels by data freezes them",
        """(float[N,5] x, int64[3] which) => (y) {
          h = MatMul(x, wh)
          g = Gather<axis=1>(h, which)
          y = MatMul(g, wy)
        }""",
        [],
        {"wh:1": "is looked up by data-dependent indices", "wy:0": "is looked up by data-dependent indices"},
        wh=(5, 6),
        wy=(3, 4),
    ),
]


@pytest.mark.parametrize(("model", "expected", "reasons"), CASES)
def test_indexing(model, expected, reasons) -> None:
    assert_groups(model, expected, reasons)
