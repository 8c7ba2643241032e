"""Writing at known indices replaces channels: partial convolutions as PyTorch exports ``x[:, :c] = conv(x[:, :c])``."""

import numpy as np
import pytest

from spa_cli.channels.selection import Selection
from tests.builders import analysed, build, case, constant
from tests.equivalence import assert_groups

ADDRESSED = "is addressed by data-dependent indices"
PARTIAL = {"wa": (8, 3, 3, 3), "wp": (4, 4, 3, 3), "wy": (5, 8, 1, 1), "c0": [0], "c4": [4], "one": [1]}
BOTH = ["4: wa:0 wp:0 wp:1 wy:1", "4: wa:0 wy:1"]


def partial(scatter, inputs="float[N,3,6,6] x", start="c0", end="c4") -> str:
    """Four channels of eight go through a convolution of their own."""
    return f"""({inputs}) => (y) {{
      a = Conv<pads=[1,1,1,1]>(x, wa)
      h = Relu(a)
      part = Slice(h, {start}, {end}, one)
      u = Conv<pads=[1,1,1,1]>(part, wp)
      {scatter}
      y = Conv(s, wy)
    }}"""


def grid(*lines) -> np.ndarray:
    """Indices that write every combination of these positions."""
    return np.stack(np.meshgrid(*map(np.asarray, lines), indexing="ij"), -1).astype(np.int64)


TRACED = """
  sh = Shape(h)
  b0 = Gather<axis=0>(sh, i0)
  rb = Range(i0, b0, i1)
  rb1 = Unsqueeze(rb, one)
  ch = Gather<axis=0>(sh, i1)
  rc = Range(i0, ch, i1)
  sc = Slice(rc, c0, c4, c0)
  z = Add(rb1, sc)
  wide = Shape(z)
  e0 = Expand(rb1, wide)
  e1 = Expand(sc, wide)
  q0 = Unsqueeze(e0, last)
  q1 = Unsqueeze(e1, last)
  i = Concat<axis=-1>(q0, q1)
  tail = Slice(sh, two, far, c0)
  us = Concat<axis=0>(wide, tail)
  ur = Reshape(u, us)
  s = ScatterND(h, i, ur)"""
TURNED = """
  sh = Shape(h)
  ch = Gather<axis=0>(sh, i1)
  rc = Range(i0, ch, i1)
  sc = Slice(rc, c0, c4, c0)
  i = Unsqueeze(sc, last)
  ht = Transpose<perm=[1,0,2,3]>(h)
  ut = Transpose<perm=[1,0,2,3]>(u)
  st = ScatterND(ht, i, ut)
  s = Transpose<perm=[1,0,2,3]>(st)"""
TRACE = {**PARTIAL, "i0": 0, "i1": 1, "two": [2], "last": [-1], "far": [2**40]}

CASES = [
    case(
        "by constants", partial("s = ScatterND(h, i, u)", "float[2,3,6,6] x"), BOTH, i=grid([0, 1], range(4)), **PARTIAL
    ),
    case(
        "of one sample", partial("s = ScatterND(h, i, u)", "float[1,3,6,6] x"), BOTH, i=grid([0], range(4)), **PARTIAL
    ),
    case(
        "counted from the end",
        partial("s = ScatterND(h, i, u)", "float[2,3,6,6] x", "c4", "c8"),
        BOTH,
        i=grid([0, 1], range(-4, 0)),
        c8=[8],
        **PARTIAL,
    ),
    case(
        "added, in another order",
        partial('s = ScatterND<reduction="add">(h, i, u)', "float[2,3,6,6] x"),
        BOTH,
        i=grid([1, 0], [0, 1, 2, 3]),
        **PARTIAL,
    ),
    case("as the tracer exports it, any batch", partial(TRACED), BOTH, **TRACE),
    case("as the tracer exports it, any size", partial(TRACED, "float[N,3,H,W] x"), BOTH, **TRACE),
    case("as torch.export does, channels in front", partial(TURNED), BOTH, **TRACE),
    case(
        "an inner window of some channels",
        """(float[1,3,4,4] x) => (y) {
          h = Conv(x, wa)
          v = Conv(x, wu)
          p = Slice(v, c1, c3, c2)
          r = Slice(p, c1, c3, c3)
          s = ScatterND(h, i, r)
          y = Conv(s, wy)
        }""",
        ["3: wa:0 wu:0 wy:1", "5: wa:0 wy:1"],
        wa=(8, 3, 1, 1),
        wu=(3, 3, 1, 1),
        wy=(5, 8, 1, 1),
        c1=[1],
        c2=[2],
        c3=[3],
        i=grid([0], [5, 0, 2], [1, 2], [1, 2]),
    ),
    case(
        "one place of every sample",
        """(float[2,3] x) => (y) {
          h = MatMul(x, wa)
          g = MatMul(x, wv)
          v = Squeeze(g, one)
          s = ScatterND(h, i, v)
          y = MatMul(s, wy)
        }""",
        ["7: wa:1 wy:0"],
        wa=(3, 8),
        wv=(3, 1),
        one=[1],
        wy=(8, 4),
        i=np.array([[0, 2], [1, 2]]),
    ),
    case(
        "one channel is written at its index",
        """(float[2,3] x, float[2] v) => (y) {
          h = MatMul(x, wa)
          s = ScatterND(h, i, v)
          y = MatMul(s, wy)
        }""",
        ["7: wa:1 wy:0"],
        wa=(3, 8),
        wy=(8, 4),
        i=grid([0, 1], [2])[:, 0],
    ),
    case(
        "what comes from an input stays, the rest goes",
        """(float[2,3] x, float[2,3] v) => (y) {
          h = MatMul(x, wa)
          s = ScatterND(h, i, v)
          y = MatMul(s, wy)
        }""",
        ["5: wa:1 wy:0"],
        wa=(3, 8),
        wy=(8, 4),
        i=grid([0, 1], [2, 4, 7]),
    ),
    case(
        "no grid of rows",
        """(float[2,3] x) => (y) {
          h = MatMul(x, wa)
          v = MatMul(x, wv)
          s = ScatterND(h, i, v)
          y = MatMul(s, wy)
        }""",
        [],
        {"wa:1": ADDRESSED, "wv:1": ADDRESSED, "wy:0": ADDRESSED},
        wa=(3, 8),
        wv=(3, 2),
        wy=(8, 4),
        i=np.array([[[0, 1], [0, 2]], [[1, 1], [1, 3]]]),
    ),
    case(
        "twice at one place",
        """(float[2,3] x) => (y) {
          h = MatMul(x, wa)
          v = MatMul(x, wv)
          s = ScatterND<reduction="add">(h, i, v)
          y = MatMul(s, wy)
        }""",
        [],
        {"wa:1": ADDRESSED, "wv:1": ADDRESSED},
        wa=(3, 8),
        wv=(3, 2),
        wy=(8, 4),
        i=grid([0, 1], [3, 3]),
    ),
    case(
        "more channels the larger the batch",
        """(float[N,3] x) => (y) {
          h = MatMul(x, wa)
          sh = Shape<end=1>(x)
          n = Squeeze(sh)
          r = Range(i0, n, i1)
          i = Unsqueeze(r, last)
          t = Transpose(h)
          v = Transpose(x)
          v1 = MatMul(w1, v)
          both = Concat<axis=0>(sh, sh)
          v2 = Expand(v1, both)
          s = ScatterND(t, i, v2)
          y = MatMul(wy, s)
        }""",
        [],
        {"wa:1": ADDRESSED, "wy:1": ADDRESSED},
        wa=(3, 8),
        w1=(1, 3),
        wy=(4, 8),
        i0=0,
        i1=1,
        last=[-1],
    ),
]


@pytest.mark.parametrize(("model", "expected", "reasons"), CASES)
def test_partial_convolution(model, expected, reasons) -> None:
    assert_groups(model, expected, reasons)


def test_indices_in_a_constant_node() -> None:
    node = f"i = {constant(grid([0, 1], range(4)))}"
    model = build(partial(f"{node}\ns = ScatterND(h, i, u)", "float[2,3,6,6] x"), **PARTIAL)
    assert_groups(model, BOTH)


def test_indices_that_follow_the_batch_stay_computed() -> None:
    """The cut model moves them where they are read; what gives them stays."""
    found = analysed(build(partial(TRACED), **TRACE))
    selection = Selection(found.grouping)
    selection.keep(0, np.array([True, False, True, True]))
    work = found.cut(selection)
    front = {n.output[0]: n for n in work.model.graph.node}
    sub = front[front["s"].input[1]]
    assert sub.op_type == "Sub" and front[sub.input[0]].op_type == "Gather"
    assert "rb" in front and work.shape("s") == (1, 7, 6, 6)
