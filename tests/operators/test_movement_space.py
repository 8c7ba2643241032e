"""Between channels and space: PixelShuffle, SpaceToDepth, patches, windows."""

import pytest

from tests.builders import case
from tests.equivalence import assert_groups

CASES = [
    *(
        case(
            f"DepthToSpace {mode}",
            f"""(float[N,3,4,4] x) => (y) {{
              a = Conv(x, wa, ba)
              d = DepthToSpace<blocksize=2, mode="{mode}">(a)
              r = Relu(d)
              y = Conv(r, wy)
            }}""",
            ["3: ba:0*4 wa:0*4 wy:1"],
            wa=(12, 3, 1, 1),
            ba=(12,),
            wy=(4, 3, 1, 1),
        )
        for mode in ("DCR", "CRD")
    ),
    case(
        "PixelShuffle as Reshape, Transpose, Reshape",
        """(float[N,3,4,4] x) => (y) {
          a = Conv(x, wa)
          r = Reshape(a, apart)
          t = Transpose<perm=[0,1,4,2,5,3]>(r)
          s = Reshape(t, together)
          y = Conv(s, wy)
        }""",
        ["3: wa:0*4 wy:1"],
        wa=(12, 3, 1, 1),
        apart=[-1, 3, 2, 2, 4, 4],
        together=[-1, 3, 8, 8],
        wy=(4, 3, 1, 1),
    ),
    case(
        "SpaceToDepth",
        """(float[N,3,4,4] x) => (y) {
          a = Conv(x, wa)
          d = SpaceToDepth<blocksize=2>(a)
          y = Conv(d, wy)
        }""",
        ["5: wa:0 wy:1*4"],
        wa=(5, 3, 1, 1),
        wy=(4, 20, 1, 1),
    ),
    case(
        "focus: four strided slices of space, Concat",
        """(float[N,3,4,4] x) => (y) {
          a = Conv(x, wa)
          p = Slice(a, ee, end, axes, twos)
          q = Slice(a, eo, end, axes, twos)
          r = Slice(a, oe, end, axes, twos)
          s = Slice(a, oo, end, axes, twos)
          c = Concat<axis=1>(p, q, r, s)
          y = Conv(c, wy)
        }""",
        ["5: wa:0 wy:1*4"],
        wa=(5, 3, 1, 1),
        ee=[0, 0],
        eo=[0, 1],
        oe=[1, 0],
        oo=[1, 1],
        end=[99, 99],
        axes=[2, 3],
        twos=[2, 2],
        wy=(4, 20, 1, 1),
    ),
    case(
        "patch merging, channels last",
        """(float[N,4,4,3] x) => (y) {
          a = MatMul(x, wa)
          p = Slice(a, ee, end, axes, twos)
          q = Slice(a, oe, end, axes, twos)
          c = Concat<axis=-1>(p, q)
          r = Reshape(c, tokens)
          y = MatMul(r, wy)
        }""",
        ["5: wa:1 wy:0*2"],
        wa=(3, 5),
        ee=[0, 0],
        oe=[1, 0],
        end=[99, 99],
        axes=[1, 2],
        twos=[2, 2],
        tokens=[0, -1, 10],
        wy=(10, 4),
    ),
    case(
        "window partition, roll, and back",
        """(float[N,4,4,3] x) => (y) {
          a = MatMul(x, wa)
          top = Slice(a, i0, i1, i1)
          rest = Slice(a, i1, i9, i1)
          rolled = Concat<axis=1>(rest, top)
          r = Reshape(rolled, cut)
          t = Transpose<perm=[0,1,3,2,4,5]>(r)
          windows = Reshape(t, flat)
          h = MatMul(windows, wh)
          s = Reshape(h, cut2)
          u = Transpose<perm=[0,1,3,2,4,5]>(s)
          v = Reshape(u, image)
          y = MatMul(v, wy)
        }""",
        ["6: wa:1 wh:0", "5: wh:1 wy:0"],
        wa=(3, 6),
        i0=[0],
        i1=[1],
        i9=[9],
        cut=[-1, 2, 2, 2, 2, 6],
        flat=[-1, 4, 6],
        wh=(6, 5),
        cut2=[-1, 2, 2, 2, 2, 5],
        image=[-1, 4, 4, 5],
        wy=(5, 4),
    ),
]


@pytest.mark.parametrize(("model", "expected", "reasons"), CASES)
def test_channels_and_space(model, expected, reasons) -> None:
    assert_groups(model, expected, reasons)
